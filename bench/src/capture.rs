//! Output as it is captured: a worker prints as fast as it can, the agent reads it, knows its lines, writes and packs them.
//! A pipe takes what is read from it, so that a worker prints no faster than the agent captures. The time is that of
//! the records, from the first line to the last.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::Plan;
use crate::http::Client;
use crate::process::Usage;
use crate::server::{Server, auth};

/// The endpoint.
const ENDPOINT: &str = "loud";

/// The row.
pub async fn run(plan: &Plan) -> anyhow::Result<Value> {
    let lines: u64 = if plan.rounds > 1 { 4_000_000 } else { 500_000 };
    plan.say(&format!("capture: a worker that prints {lines} lines"));
    let server = Server::start().await?;
    let own = std::env::current_exe()?.display().to_string();
    let handler = format!(
        "import os\n\
         def say(data):\n    \
         while data:\n        \
         data = data[os.write(1, data):]\n\
         for first in range(0, {lines}, 500):\n    \
         say(''.join('INFO:     10.0.3.%d:%d - \"POST /generate HTTP/1.1\" 200 OK, number %d\\n' % (n % 256, n % 60000, n)\n                \
         for n in range(first, first + 500)).encode())\n\
         say(b'that is all\\n')\n\
         os.execv({own:?}, [{own:?}, 'worker'])\n"
    );
    let agent = server.agent().context("the agent's process")?;
    let (before, before_server) = (Usage::of(agent), server.usage());
    server.deploy(ENDPOINT, &handler, &[]).await?;
    let mut client = Client::connect(&server.host).await?;
    let last = loop {
        match one(&mut client, "q=that%20is%20all&limit=1").await? {
            Some(record) => break record,
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    // Packing may go on for a moment behind the last line: it is part of the cost.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (after, after_server) = (Usage::of(agent), server.usage());
    let first = one(&mut client, "regex=number%200%24&limit=1").await?.context("the first line")?;
    let number = |record: &Value, name: &str| record[name].as_i64().context("a number of a record");
    let took = (number(&last, "at")? - number(&first, "at")?) as f64 / 1_000.0;
    let between = (number(&last, "seq")? - number(&first, "seq")?) as u64;
    ensure!(between == lines, "{between} lines lie between the first and the last of {lines}");
    server.stop().await;
    Ok(json!({
        "row": "capture", "lines": lines, "linesPerSecond": lines as f64 / took,
        "agentCpuUsPerLine": (after.cpu_s - before.cpu_s) * 1e6 / lines as f64,
        "serverCpuUsPerLine": (after_server.cpu_s - before_server.cpu_s) * 1e6 / lines as f64,
        "agentMib": after.resident_mib,
    }))
}

/// The newest record that matches.
async fn one(client: &mut Client, filter: &str) -> anyhow::Result<Option<Value>> {
    let path = format!("/api/v1/logs?endpoint={ENDPOINT}&{filter}");
    let answer = client.send("GET", &path, &auth(), b"").await?;
    ensure!(answer.status == 200, "logs: {}", String::from_utf8_lossy(&answer.body));
    let mut found: Value = serde_json::from_slice(&answer.body)?;
    Ok(found["records"].as_array_mut().and_then(Vec::pop))
}
