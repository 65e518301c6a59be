//! `runyard dev [PATH]`: the real server with the real queue for one folder, on loopback, without a key. The
//! code runs where it lies; saving a file drains the worker and starts one with the new code.

mod keys;
mod once;
mod project;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use http::Method;
use runyard_runtime::Paths;
use runyard_server::{Config, Flags, Mode, Server, ServerError};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::client::{Call, Client, Transport, path};
use crate::commands::deploy::rollout::Rollout;
use crate::commands::secret_env::SecretEnvArgs;
use crate::commands::serving;
use crate::context::Context;
use crate::errors::{Code, Failure};
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

While it runs on a terminal: i sends test_input.json, r restarts the worker, q quits.")]
pub struct Dev {
    /// The folder, or the handler's file
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// An environment variable of the worker; K alone takes the value from here
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,
    #[command(flatten)]
    secret_env: SecretEnvArgs,
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
        let project = Arc::new(Project::find(&self.path, &self.env, self.secret_env.read(context.ui)?)?);
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
            () = server.failed() => Err(Failure::new(Code::Failure, "the store failed; see the log above").into()),
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
        project: &Arc<Project>,
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

    /// Until the user quits: shows what the worker prints, takes up saved files, sends test requests. What is
    /// under way never keeps a key or a saved file waiting: the newer one replaces it.
    async fn serve(&self, project: &Arc<Project>, client: &Client, ui: Ui) -> anyhow::Result<()> {
        let mut saved = watch::watch(&project.folder)?;
        let mut keys = keys::read()?;
        let printing = Ended(tokio::spawn(watch::print_logs(client.clone(), ui)));
        let mut at_work: Option<Ended> = None;
        loop {
            let begin = |work: Work| Some(Ended(tokio::spawn(work.run(project.clone(), client.clone(), ui))));
            tokio::select! {
                file = saved.recv() => {
                    let Some(file) = file else { break };
                    ui.note(&ui.err.tone(&format!("{file} was saved: starting a worker with it"), Tone::Dim));
                    at_work = begin(Work::Restart);
                }
                key = keys.recv() => match key {
                    Some('q') => break,
                    Some('r') => at_work = begin(Work::Restart),
                    Some('i') => at_work = begin(Work::Test),
                    Some(c) if c.is_whitespace() => {}
                    Some(_) => ui.note(KEYS),
                    // No terminal: it runs until it is told to end.
                    None => std::future::pending::<()>().await,
                },
            }
        }
        drop((printing, at_work));
        Ok(())
    }
}

/// What the keys do.
const KEYS: &str = "i sends test_input.json · r restarts the worker · q quits";

/// What a key or a saved file begins.
enum Work {
    Restart,
    Test,
}

impl Work {
    async fn run(self, project: Arc<Project>, client: Client, ui: Ui) {
        let done = match self {
            Self::Restart => release(&project, &client, ui).await,
            Self::Test => send_test(&project, &client, ui).await,
        };
        if let Err(error) = done {
            crate::errors::report(&error, ui);
        }
    }
}

/// A task that ends with this value.
struct Ended(JoinHandle<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes a release of the folder as it is now. It gets traffic when its worker asks for a job; until then, and
/// where it does not come up, the worker of the code before it goes on.
async fn release(project: &Project, client: &Client, ui: Ui) -> anyhow::Result<()> {
    let body = json!({
        "folder": project.folder,
        "handler": project.handler,
        "env": project.env,
        "secretEnv": project.secret_env,
        "create": true,
        "tests": false,
        "settings": {"workers_min": 1, "workers_max": 1},
    });
    let call = Call::new(Method::POST, path::api(&["endpoints", ENDPOINT, "releases"])).json(&body);
    Rollout::new(client, ENDPOINT, ui).follow(call).await.map(drop)
}

async fn send_test(project: &Project, client: &Client, ui: Ui) -> anyhow::Result<()> {
    if project.test_input()?.is_none() {
        return Err(project::no_test_input(project).into());
    }
    once::run(project, client, ui).await
}

fn banner(project: &Project, server: &Server, ui: Ui) -> anyhow::Result<String> {
    let input = project.test_input()?.unwrap_or_else(|| r#"{"prompt": "Hey there!"}"#.to_owned());
    let input = crate::output::json::compact(&input);
    let base = format!("{}/v2/{ENDPOINT}", server.url);
    Ok(format!(
        "  API      {base}   (no key needed on this machine)\n  \
         Console  {link}\n  \
         curl     curl -s {base}/runsync -H 'Content-Type: application/json' -d '{{\"input\":{input}}}'\n  \
         call     runyard run {ENDPOINT} -d '{input}' --url {url}\n  {keys}",
        url = server.url,
        link = server.console_link(),
        keys = ui.err.tone(&format!("watching for saved files · {KEYS}"), Tone::Dim),
    ))
}
