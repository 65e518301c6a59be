//! `runyard dev [PATH]`: the real server with the real queue for one folder, on loopback, without a key. The
//! code runs where it lies; saving a file drains the worker and starts one with the new code.

mod once;
mod project;
mod watch;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use http::Method;
use runyard_runtime::Paths;
use runyard_server::{Config, Flags, Mode, Server, ServerError};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::client::{Call, Client, Transport, path};
use crate::commands::deploy::rollout::Rollout;
use crate::commands::serving;
use crate::context::Context;
use crate::output::{Tone, Ui};
use project::Project;

/// The name of the endpoint.
const ENDPOINT: &str = "dev";

/// Run a folder or a handler.py as an endpoint on this machine, and restart it on save
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard dev                                     this folder
  runyard dev handler.py --env MODE=fast
  runyard dev examples/hello --once               send test_input.json, print the output, end
  runyard dev examples/hello --once --json        with job id, worker and SDK version

While it runs: i sends test_input.json, r restarts the worker, q quits (each with Enter).")]
pub struct Dev {
    /// The folder, or the handler's file
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// An environment variable of the worker; K alone takes the value from here
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,
    /// Send test_input.json, print the output and end with the job's outcome
    #[arg(long)]
    once: bool,
    /// Where to listen; the next free port where that one is taken [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

impl Dev {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        serving::log_trouble_to_stderr();
        let project = Project::find(&self.path, &self.env)?;
        if self.once && project.test_input()?.is_none() {
            return Err(project::no_test_input(&project).into());
        }
        let server = self.start(context).await?;
        serving::note_use(&server);
        let transport = Transport::InProcess(server.inside());
        let client = Client::local(transport, "the development server".to_owned());
        let outcome = tokio::select! {
            biased;
            told = serving::told_to_end() => told,
            done = self.work(&project, &server, &client, context) => done,
        };
        server.stop().await;
        outcome
    }

    /// Starts the server. Without `--data`, a folder that another `dev` uses is left to it.
    async fn start(&self, context: &Context) -> anyhow::Result<Server> {
        let (data, given) = serving::data_dir(context, "runyard-dev")?;
        let flags = Flags { listen: self.listen.clone(), ..Flags::default() };
        let mut last = None;
        for n in 1..=9 {
            let data = if n == 1 { data.clone() } else { data.with_file_name(format!("runyard-dev-{n}")) };
            let config = Config::load(&Paths::new(&data).config(), &flags)?;
            match Server::start(&data, config, Mode::Dev, serving::this_program()?).await {
                Err(error @ ServerError::Locked(_)) if !given => last = Some(error),
                started => return started.context("the development server did not start"),
            }
        }
        Err(last.map_or_else(|| anyhow::anyhow!("no data directory is free"), Into::into))
    }

    async fn work(
        &self,
        project: &Project,
        server: &Server,
        client: &Client,
        context: &Context,
    ) -> anyhow::Result<()> {
        // With --json stdout belongs to the one document at the end.
        let talk = Ui { json: false, ..context.ui };
        talk.note(&format!("runyard dev · {}", project.handler.display()));
        release(project, client, talk).await?;
        if self.once {
            return once::run(project, client, context.ui).await;
        }
        talk.note(&banner(project, server, talk)?);
        self.serve(project, client, talk).await
    }

    /// Until the user quits: shows what the worker prints, takes up saved files, sends test requests.
    async fn serve(&self, project: &Project, client: &Client, ui: Ui) -> anyhow::Result<()> {
        let mut saved = watch::watch(&project.folder)?;
        let printing = tokio::spawn(watch::print_logs(client.clone(), ui));
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let mut typing = true;
        loop {
            tokio::select! {
                file = saved.recv() => {
                    let Some(file) = file else { break };
                    ui.note(&ui.err.tone(&format!("{file} was saved: restarting the worker"), Tone::Dim));
                    again(project, client, ui).await;
                }
                line = lines.next_line(), if typing => match line?.as_deref().map(str::trim) {
                    Some("q") => break,
                    Some("r") => again(project, client, ui).await,
                    Some("i") => send_test(project, client, ui).await,
                    Some(_) => ui.note("i sends test_input.json, r restarts the worker, q quits"),
                    None => typing = false,
                },
            }
        }
        printing.abort();
        Ok(())
    }
}

/// Makes a release of the folder as it is now; it gets traffic at once.
async fn release(project: &Project, client: &Client, ui: Ui) -> anyhow::Result<()> {
    let body = json!({
        "folder": project.folder,
        "handler": project.handler,
        "env": project.env,
        "create": true,
        "test": false,
        "settings": {"workers_min": 1, "workers_max": 1},
    });
    let call = Call::new(Method::POST, path::api(&["endpoints", ENDPOINT, "releases"])).json(&body);
    Rollout::new(client, ENDPOINT, ui).follow(call).await.map(drop)
}

async fn again(project: &Project, client: &Client, ui: Ui) {
    if let Err(error) = release(project, client, ui).await {
        crate::errors::report(&error, ui);
    }
}

async fn send_test(project: &Project, client: &Client, ui: Ui) {
    match project.test_input() {
        Ok(None) => ui.note("there is no test_input.json"),
        Ok(Some(_)) => {
            if let Err(error) = once::run(project, client, ui).await {
                crate::errors::report(&error, ui);
            }
        }
        Err(error) => {
            crate::errors::report(&error, ui);
        }
    }
}

fn banner(project: &Project, server: &Server, ui: Ui) -> anyhow::Result<String> {
    let input = project.test_input()?.unwrap_or_else(|| r#"{"prompt": "Hey there!"}"#.to_owned());
    let input = crate::output::json::compact(&input);
    let base = format!("{}/v2/{ENDPOINT}", server.url);
    Ok(format!(
        "  API      {base}   (no key needed on this machine)\n  \
         curl     curl -s {base}/runsync -H 'Content-Type: application/json' -d '{{\"input\":{input}}}'\n  \
         call     runyard run {ENDPOINT} -d '{input}' --url {url}\n  {keys}",
        url = server.url,
        keys = ui
            .err
            .tone("watching for saved files · i test request · r restart · q quit (with Enter)", Tone::Dim),
    ))
}
