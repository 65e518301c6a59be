//! `runyard completion SHELL`: a completion script on stdout.

use clap::Args;
use clap_complete::Shell;

use crate::context::Context;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard completion bash > ~/.local/share/bash-completion/completions/runyard
  runyard completion zsh > \"${fpath[1]}/_runyard\"
  runyard completion fish > ~/.config/fish/completions/runyard.fish")]
pub struct Completion {
    /// bash, zsh, fish or powershell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completion {
    pub fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::help::command(), "runyard", &mut script);
        context.ui.write(&String::from_utf8_lossy(&script))
    }
}
