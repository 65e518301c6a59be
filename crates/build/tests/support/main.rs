//! The launcher as a program, for the tests: `agent-exec`, as the binary `runyard` has it.

use std::process::ExitCode;

fn main() -> ExitCode {
    runyard_agent::launch_main()
}
