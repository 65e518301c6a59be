//! `runyard deploy [PATH]`: packs a folder, uploads it unless the server has it, makes a release of it and follows
//! it until it serves, or until it is clear why it does not.

pub mod pack;
pub mod plan;
pub mod rollout;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Call, Client, path};
use crate::commands::container::ImageArgs;
use crate::commands::project::Project;
use crate::commands::secret_env::SecretEnvArgs;
use crate::commands::settings::SettingsArgs;
use crate::context::Context;
use crate::output::{Mark, json as layout, text, time};
use crate::views::{DeployLine, Info};

use pack::{Packed, pack_folder};
use plan::{Plan, Runs};
use rollout::Rollout;

/// Ship a folder or an image: test it, move traffic to it, keep the old release if it fails
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard deploy                                  this folder, under its own name
  runyard deploy examples/hello --name hello
  runyard deploy handler.py --max 3 --env MODE_TO_RUN=serverless
  runyard deploy --env 'HF={{ RUNPOD_SECRET_hf }}' --secret-env DB_URL=@db-url.txt
  runyard deploy --canary 10                      10 % of the jobs first, then all or none
  runyard deploy --image ghcr.io/me/worker:v1 --name worker --gpus 1
  runyard deploy --json                           each step as one line of JSON

What a runyard.toml in the folder says holds where no flag says otherwise.
A folder with a Dockerfile is built by the server's container engine, unless --handler says otherwise.
Exit code 3 when the environment, the build, the start or a test failed: the release before goes on serving.")]
pub struct Deploy {
    /// The folder; or a handler's file alone, with the requirements and the test input beside it
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// The endpoint's name; else the folder's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The file that calls runpod.serverless.start, below the folder
    #[arg(long, value_name = "FILE")]
    handler: Option<String>,
    /// An environment variable of the workers; K alone takes the value from here
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,
    #[command(flatten)]
    secret_env: SecretEnvArgs,
    /// What to remember about this release
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Give it this share of the jobs first (1 to 99 %); it is promoted or taken back by itself
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=99))]
    canary: Option<u32>,
    /// Print everything that the installer says
    #[arg(short, long)]
    verbose: bool,
    /// The environment of the folder's runyard.toml: [env.NAME]
    #[arg(short, long, value_name = "NAME")]
    environment: Option<String>,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Deploy {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let ui = context.ui;
        let project = self.project()?;
        let plan = Plan::make(&self, project.as_ref())?;
        let secret_env = self.secret_env.read(ui)?;
        let started = Instant::now();
        let client = context.client().await?;
        let mut rollout = Rollout::new(&client, &plan.name, ui);
        rollout.verbose = self.verbose;
        rollout.steps.line(&format!("{} → {}", plan.name, text::line(client.target(), 200)));

        let bundle = match plan.runs {
            Runs::Image => None,
            _ => Some(bundle(&plan, &client, &mut rollout, started).await?),
        };
        let mut release = self.release(&plan, project.as_ref(), bundle, &client).await?;
        if !secret_env.is_empty() {
            release["secretEnv"] = json!(secret_env);
        }
        let (call, body) = match &project {
            Some(project) => {
                ("apply", json!({"managedBy": project.place(), "always": true, "release": release}))
            }
            None => ("releases", release),
        };
        let call = Call::new(Method::POST, path::api(&["endpoints", &plan.name, call]));
        let done = rollout.follow(call.json(&body)).await?;
        if ui.json {
            return Ok(());
        }
        if let Some(percent) = self.canary.filter(|_| done.serving != done.release) {
            let name = &plan.name;
            let number = done.release.unwrap_or_default();
            ui.line(&format!("release #{number} gets {percent} % of the jobs of {name}"))?;
            ui.note(&format!(
                "'runyard promote {name}' gives it all of them, 'runyard rollback {name}' none"
            ));
            return Ok(());
        }
        let took = time::span(Some(started.elapsed().as_millis() as i64));
        ui.write(&closing(&done, &plan, &client, &took).await)
    }

    /// The folder's file, where it has one. Of a handler or an image alone there is none.
    fn project(&self) -> anyhow::Result<Option<Project>> {
        let is_folder = self.path.is_dir() || self.path.ends_with(runyard_project::FILE);
        if !is_folder || self.image.image.is_some() {
            return Ok(None);
        }
        let project = Project::load(&self.path, self.environment.as_deref())?;
        Ok(Some(project).filter(|project| project.has_file))
    }

    /// The release as the API takes it: what the file says, and over it what the flags say.
    async fn release(
        &self,
        plan: &Plan,
        project: Option<&Project>,
        bundle: Option<String>,
        client: &Client,
    ) -> anyhow::Result<Value> {
        let mut release = project.map(|project| project.release(bundle.as_deref())).unwrap_or_default();
        if let Some(bundle) = bundle {
            release.insert("bundle".to_owned(), bundle.into());
        }
        if plan.runs == Runs::Handler {
            release.remove("container");
        } else if !self.image.is_empty() || self.image.has_secrets() || !release.contains_key("container") {
            let given = self.image.request(&plan.build_args)?;
            over(release.entry("container").or_insert_with(|| json!({})), given);
        }
        release.insert("create".to_owned(), true.into());
        if let Some(handler) = &plan.handler {
            release.insert("handler".to_owned(), handler.clone().into());
        }
        if !plan.env.is_empty() {
            release.insert("env".to_owned(), json!(plan.env));
        }
        if !self.settings.is_empty() {
            let given = self.settings.resolve(client, &plan.name).await?;
            over(release.entry("settings").or_insert_with(|| json!({})), given);
        }
        if let Some(percent) = self.canary {
            release.insert("canary".to_owned(), percent.into());
        }
        if let Some(note) = &self.note {
            release.insert("note".to_owned(), note.clone().into());
        }
        Ok(Value::Object(release))
    }
}

/// Lays one object over another, also where both have an object below.
fn over(base: &mut Value, given: Value) {
    match (base, given) {
        (Value::Object(base), Value::Object(given)) => {
            for (name, value) in given {
                // A scaler is one thing: its value means something else with another type.
                match base.get_mut(&name).filter(|_| name != "scaler") {
                    Some(below) => over(below, value),
                    None => drop(base.insert(name, value)),
                }
            }
        }
        (base, given) => *base = given,
    }
}

/// Packs and uploads what is deployed; answers its name.
async fn bundle(
    plan: &Plan,
    client: &Client,
    rollout: &mut Rollout<'_>,
    started: Instant,
) -> anyhow::Result<String> {
    rollout.steps.now("bundle", "packing");
    let (source, runs) = (plan.source.clone(), plan.runs.clone());
    let packed = tokio::task::spawn_blocking(move || match runs {
        Runs::Dockerfile(file) => pack::pack_context(&source, &file),
        _ => pack_folder(&source),
    });
    let packed = packed.await??;
    let (files, s) = (packed.files, if packed.files == 1 { "" } else { "s" });
    let what = format!("{files} file{s}, {}", layout::bytes(packed.bytes.len()));
    rollout.steps.now("bundle", &format!("uploading {what}"));
    let known = !upload(client, &packed).await?;
    let what = if known { format!("{what} (unchanged)") } else { what };
    rollout.steps.end(Mark::Done, "bundle", &what, Some(started.elapsed().as_millis() as i64));
    Ok(packed.sha256)
}

/// Uploads the bundle unless the server has it; says whether it did.
pub async fn upload(client: &Client, packed: &Packed) -> anyhow::Result<bool> {
    let path = path::api(&["bundles", &packed.sha256]);
    match client.get(path.clone()).await {
        Ok(_) => return Ok(false),
        Err(e) if e.is_not_found() => {}
        Err(e) => return Err(e.into()),
    }
    let call = Call::new(Method::PUT, path).body("application/gzip", packed.bytes.clone());
    client.send(call.timeout(Duration::from_mins(30))).await?;
    Ok(true)
}

/// What to do with an endpoint that serves: its address, and the two ways to call it.
async fn closing(done: &DeployLine, plan: &Plan, client: &Client, took: &str) -> String {
    let url = match &done.url {
        Some(url) => text::line(url, 400),
        None => format!("{}/v2/{}", client.target(), plan.name),
    };
    let call = Call::new(Method::GET, path::api(&["info"])).timeout(Duration::from_secs(5));
    let open = match client.send(call).await {
        Ok(reply) => reply.parse::<Info>().is_ok_and(|info| info.open),
        Err(_) => false,
    };
    let key = if open { "" } else { " -H \"Authorization: Bearer $RUNYARD_API_KEY\"" };
    let input = plan.sample_input();
    let body = plan::quoted(&format!("{{\"input\":{input}}}"));
    format!(
        "live in {took}   {url}\n  curl -s {url}/runsync{key} -H 'Content-Type: application/json' -d {body}\n  \
         runyard run {name} -d {input}\n  runyard logs {name} -f\n",
        name = plan.name,
        input = plan::quoted(&input),
    )
}
