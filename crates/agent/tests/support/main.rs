//! The agent as a program, for its tests: `agent --data DIR` and `agent-exec`, as the binary `runyard` has
//! them. `RUNYARD_ORPHAN_MS` shortens the time that workers outlive the server.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use runyard_agent::{Options, launch_main, run};
use runyard_domain::{Env, Timestamp};
use runyard_runtime::Paths;

#[derive(Debug)]
struct System;

impl Env for System {
    #[allow(clippy::disallowed_methods, reason = "this is the clock of the tests' agent")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(since.as_millis() as i64)
    }

    fn fill(&self, bytes: &mut [u8]) {
        let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes));
        read.expect("the machine has randomness");
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["agent-exec"] => launch_main(),
        ["agent", "--data", data] => agent(PathBuf::from(data)),
        _ => ExitCode::from(2),
    }
}

fn agent(data: PathBuf) -> ExitCode {
    let mut options = Options::new(Paths::new(data), Arc::new(System));
    if let Some(ms) = std::env::var("RUNYARD_ORPHAN_MS").ok().and_then(|ms| ms.parse().ok()) {
        options.orphan_timeout = Duration::from_millis(ms);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map(|runtime| runtime.block_on(run(options))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{error}: {:?}", std::error::Error::source(&error));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
