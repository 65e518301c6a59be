//! `runyard completion SHELL`: a completion script on stdout. The script asks the binary for every word, so that
//! it also offers the names of endpoints, jobs and workers, and needs no renewal.

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap_complete::env::Shells;

use crate::candidates::VARIABLE;
use crate::context::Context;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard completion bash > ~/.local/share/bash-completion/completions/runyard
  runyard completion zsh > \"${fpath[1]}/_runyard\"
  runyard completion fish > ~/.config/fish/completions/runyard.fish")]
pub struct Completion {
    /// Which shell
    #[arg(value_name = "SHELL", value_parser = PossibleValuesParser::new(Shells::builtins().names()))]
    shell: String,
}

impl Completion {
    pub fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut script = Vec::new();
        if let Some(shell) = Shells::builtins().completer(&self.shell) {
            shell.write_registration(VARIABLE, "runyard", "runyard", "runyard", &mut script)?;
        }
        context.ui.write(&String::from_utf8_lossy(&script))
    }
}
