//! What every command is given: where to print, and how to reach the server.

use std::io::{BufRead, IsTerminal, Write};

use crate::client::Client;
use crate::errors::Failure;
use crate::output::Ui;
use crate::target::TargetArgs;

/// The global options, resolved.
pub struct Context {
    /// Where to print.
    pub ui: Ui,
    /// Which server was named.
    pub target: TargetArgs,
}

impl Context {
    /// The server to talk to.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.target.resolve(self.ui).await
    }

    /// Asks the user to type `word` before something is destroyed. Without a terminal nobody can be asked, and
    /// then only `--yes` will do.
    pub fn confirm(&self, question: &str, word: &str) -> anyhow::Result<()> {
        if !std::io::stdin().is_terminal() || !self.ui.err_terminal {
            return Err(Failure::usage(format!("{question} needs a yes, and nobody can be asked here"))
                .hint("the same command with --yes")
                .into());
        }
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{question}: type '{word}' to go on: ");
        let _ = err.flush();
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if answer.trim() == word {
            return Ok(());
        }
        Err(Failure::usage(format!("that was not '{word}': nothing was changed")).into())
    }
}
