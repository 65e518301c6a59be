//! The binary `runyard`: parses the command line, does what one command says, and ends with its exit code. A
//! command talks to a server through [`client`], chosen by [`target`]; what it prints goes through [`output`],
//! and how it fails through [`errors`].

mod candidates;
mod client;
mod commands;
mod context;
mod credentials;
mod errors;
mod files;
mod help;
mod hidden;
#[cfg(test)]
mod hints;
mod job_ids;
mod last;
mod offline;
mod output;
mod secret;
mod target;
mod views;

use std::process::ExitCode;

use clap::{FromArgMatches, Parser};
use clap_complete::CompleteEnv;

use crate::commands::Command;
use crate::context::Context;
use crate::output::{ColorChoice, Ui};
use crate::target::TargetArgs;

/// A serverless GPU cloud of your own, in one binary.
#[derive(Debug, Parser)]
#[command(name = "runyard", version, arg_required_else_help = true, disable_help_subcommand = false)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    target: TargetArgs,
    /// Print JSON on stdout: one document, or one a line where a command streams
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// When to use colours; NO_COLOR and CLICOLOR_FORCE count too
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        help_heading = "Global options"
    )]
    color: ColorChoice,
}

fn main() -> ExitCode {
    // Does nothing, unless a completion script asks.
    CompleteEnv::with_factory(candidates::command).var(candidates::VARIABLE).complete();
    let matches = help::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit());
    let context = Context { ui: Ui::new(cli.color, cli.json), target: cli.target };
    let outcome = match cli.command {
        // Workers die with the thread that made them: the agent has its own, single-threaded runtime.
        Command::Agent(agent) => agent.run(&context),
        Command::AgentExec => return runyard_agent::launch_main(),
        command => on_runtime(command.run(&context)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => errors::report(&error, context.ui),
    }
}

fn on_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(work);
    // What still blocks (a read of the terminal) must not keep a command that has ended.
    runtime.shutdown_background();
    outcome
}
