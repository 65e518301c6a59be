//! `runyard run ENDPOINT`: submits a job and, unless told otherwise, waits for it. It goes through RunPod's job
//! API like any other client: `run`, then `status-sync` or `stream`.

pub mod input;
mod outcome;
pub mod save;
mod stream;
mod wait;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Method;

use crate::client::{Call, Client, path};
use crate::commands::examples;
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::{text, time};
use crate::views::JobAnswer;

/// Submit a job and wait for its output
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard run t2i -i prompt=\"a red boat\" -i seed=7 -o boat.png
  runyard run whisper -i audio=@talk.wav
  runyard run llm -d '{\"prompt\": \"hi\"}' --stream
  runyard run t2i -d @request.json --async
  runyard run t2i --example 'a boat'                  what 'runyard examples' keeps

Exit codes: 3 when the job failed, timed out or was cancelled; 7 when --timeout ended the waiting
(the job goes on).")]
pub struct Run {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// One value of the input: JSON where it is a number, bool, list or object, else text; key=@FILE reads a file
    /// (text as it is, anything else as base64); key=@@x is the text '@x'
    #[arg(short, long = "input", value_name = "KEY=VALUE", conflicts_with = "data_json")]
    input: Vec<String>,
    /// The input as JSON, or a whole request with the key 'input'; @FILE reads a file, - reads stdin
    #[arg(short = 'd', long = "json-input", id = "data_json", value_name = "JSON|@FILE|-")]
    data: Option<String>,
    /// An input that is kept with the endpoint under this name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["input", "data_json"])]
    example: Option<String>,
    /// Do not wait: print the job's id
    #[arg(long = "async")]
    asynchronous: bool,
    /// Print what the handler yields as it comes
    #[arg(long, conflicts_with = "asynchronous")]
    stream: bool,
    /// Write the output to a file; a picture or sound in base64 is decoded
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["asynchronous", "stream"])]
    output: Option<PathBuf>,
    /// Wait at most so long: 30s, 10m
    #[arg(long, value_name = "DURATION", value_parser = time::duration, conflicts_with = "asynchronous")]
    timeout: Option<Duration>,
}

/// A job that was submitted, while its command waits.
pub struct Submitted<'a> {
    pub client: &'a Client,
    pub endpoint: &'a str,
    pub id: &'a str,
}

impl Run {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let given = match &self.example {
            None => Some(input::request(&self.input, self.data.as_deref())?),
            Some(_) => None,
        };
        let client = context.client().await?;
        if client.is_offline() {
            let text = format!("no server runs on {}, so nothing would run the job", client.target());
            let hint = format!("runyard up --data {}", client.target());
            return Err(Failure::new(Code::Failure, text).hint(hint).into());
        }
        let body = match (given, &self.example) {
            (None, Some(name)) => examples::request(&client, &self.endpoint, name).await?,
            (given, _) => given.unwrap_or_default(),
        };
        let call = Call::new(Method::POST, path::jobs_of(&self.endpoint, &["run"]));
        let reply = client.send(call.body("application/json", Bytes::from(body))).await?;
        let id = reply.parse::<JobAnswer>()?.id;
        if self.asynchronous {
            let ui = context.ui;
            return if ui.json { ui.document(&reply.text) } else { ui.line(&text::line(&id, 120)) };
        }
        let job = Submitted { client: &client, endpoint: &self.endpoint, id: &id };
        self.wait(&job, context).await
    }

    /// Waits until the job is done, the time is up or the user has had enough, whichever comes first.
    async fn wait(&self, job: &Submitted<'_>, context: &Context) -> anyhow::Result<()> {
        let limit = self.timeout.unwrap_or(Duration::MAX);
        tokio::select! {
            // First, so that a signal is caught before anything is asked.
            biased;
            _ = tokio::signal::ctrl_c() => Err(gave_up(Code::Interrupted, "waiting was interrupted", job).into()),
            ended = tokio::time::timeout(limit, self.follow(job, context)) => match ended {
                Ok(result) => result,
                Err(_) => Err(gave_up(Code::TimedOut, "waiting timed out", job).into()),
            },
        }
    }

    async fn follow(&self, job: &Submitted<'_>, context: &Context) -> anyhow::Result<()> {
        if self.stream {
            stream::follow(job, context.ui).await?;
        }
        let reply = wait::until_done(job, context.ui).await?;
        let show = match &self.output {
            Some(file) => outcome::Show::File(file),
            None if self.stream => outcome::Show::Nothing,
            None => outcome::Show::Stdout,
        };
        outcome::finish(&reply, show, self.stream, context.ui)
    }
}

fn gave_up(code: Code, what: &str, job: &Submitted<'_>) -> Failure {
    Failure::new(code, format!("{what}; job {} goes on", job.id))
        .hint(format!("runyard status {}", job.id))
        .hint(format!("runyard cancel {}", job.id))
}
