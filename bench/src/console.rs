//! The console on a full server: what `bench/python/console.py` measures in a real Chromium. It is run where it is asked
//! for by name: its five minutes of load are as long as most other rows together.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{Plan, server};

/// The row.
pub async fn run(plan: &Plan) -> anyhow::Result<Value> {
    let python = plan.python.as_deref().context("no Python was given (--python=PROGRAM)")?;
    plan.say("console: pages at size, and open tabs under load");
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/python/console.py"));
    let mut program = Command::new(python);
    program.arg(script).env("RUNYARD_BIN", server::binary()?).env("PYTHONDONTWRITEBYTECODE", "1");
    if plan.rounds == 1 {
        program.arg("--quick");
    }
    let output = program.stderr(Stdio::inherit()).output().await.context("the program of this row")?;
    ensure!(output.status.success(), "it failed: {}", output.status);
    let mut row: Value = serde_json::from_slice(&output.stdout).context("what it printed")?;
    row["row"] = json!("console");
    Ok(row)
}
