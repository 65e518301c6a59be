//! `runyard endpoints …`, also `runyard ep …`: list, show, create, set, restart, rm.

mod create;
mod list;
mod restart;
mod rm;
mod set;
mod show;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::output::Tone;

/// List, show, create, change and remove endpoints
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard endpoints                        all of them
  runyard ep show t2i
  runyard ep set t2i --max 5 --idle 1m
  runyard ep rm t2i --yes")]
pub struct Endpoints {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    #[command(visible_alias = "ls")]
    List(list::List),
    Show(show::Show),
    Create(create::Create),
    Set(set::Set),
    Restart(restart::Restart),
    Rm(rm::Rm),
}

impl Endpoints {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what.unwrap_or(What::List(list::List {})) {
            What::List(c) => c.run(context).await,
            What::Show(c) => c.run(context).await,
            What::Create(c) => c.run(context).await,
            What::Set(c) => c.run(context).await,
            What::Restart(c) => c.run(context).await,
            What::Rm(c) => c.run(context).await,
        }
    }
}

/// An endpoint's state as a tone.
fn tone(state: &str) -> Tone {
    match state {
        "ready" | "busy" => Tone::Good,
        "failing" => Tone::Bad,
        "starting" | "no_gpu" => Tone::Warn,
        _ => Tone::Dim,
    }
}
