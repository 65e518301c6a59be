//! `cargo xtask`: the chores of this repository. `layers` holds the house rules, `test` installs what the tests
//! need and runs all of them, `capabilities` writes a reference, `bench` measures. No part of the product.

mod bench;
mod capabilities;
mod house;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

const HELP: &str = "\
cargo xtask COMMAND

  layers                        the house rules: which crate may use which, how long a file may be, a page for
                                every error code, and that the documents name files that are there
  test [--fast] [--allow-skips] installs what the tests need and runs all of them
       --fast                   the crates' own tests alone: no Python environment, no end-to-end suites;
                                skips are allowed
       --allow-skips            a skipped test is named and is no failure

  capabilities                  writes docs/capabilities.md: what can be done by API, command line and console

  bench [--quick] [--gate] [--docs] [--only=ROW]
                                the loads beside their peers and floors, as Markdown; installs what they need
       --quick                  one short run of each row: some minutes instead of a quarter of an hour
       --gate                   fails where a ratio within the run does not hold
       --docs                   puts the figures into docs/benchmarks.md
       --only=ROW               this row alone, and others named so: fdatasync, echo, store, submit, jobs, redis,
                                start, sdk, prefetch, logs, python, fanout, endpoints, queue";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (command, flags) = match arguments.split_first() {
        Some((command, flags)) => (command.as_str(), flags),
        None => ("help", arguments),
    };
    match command {
        "layers" if flags.is_empty() => house::check(&root()?),
        "test" => test::run(&root()?, test::Flags::parse(flags)?),
        "capabilities" if flags.is_empty() => capabilities::write(&root()?),
        "bench" => bench::run(&root()?, &bench::Flags::parse(flags)?),
        "help" | "-h" | "--help" => {
            println!("{HELP}");
            Ok(())
        }
        _ => bail!("there is no `cargo xtask {}`\n\n{HELP}", arguments.join(" ")),
    }
}

/// The repository, wherever the command was called.
fn root() -> anyhow::Result<PathBuf> {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = crates.ancestors().nth(2).context("crates/xtask lies two folders below the root")?;
    Ok(root.to_owned())
}
