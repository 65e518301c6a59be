//! `runyard git connect URL`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Map, Value, json};

use crate::client::{Call, path};
use crate::commands::deploy::plan;
use crate::commands::secret_env::SecretEnvArgs;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::{Ui, text, time};
use crate::views::Connection;

/// Reading a repository that is far away takes its time.
const ANSWER: Duration = Duration::from_mins(2);

/// What makes a commit one to deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    // Plain comments: they would become paragraphs in the help.
    // The newest commit of the branch.
    Push,
    // The highest tag, as versions are ordered.
    Tag,
    // The forge's latest release.
    Release,
}

/// Have an endpoint follow a repository
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard git connect github.com/me/t2i --branch main --endpoint t2i
  runyard git connect https://gitlab.com/me/t2i --path services/t2i --pull-requests
  RUNYARD_GIT_TOKEN=… runyard git connect github.com/me/private --on release

Give the webhook's address and secret to the forge (content type application/json; pushes, releases and pull
requests). Without it the repository is looked at every minute.")]
pub struct Connect {
    /// The repository: github.com/me/repo, https://…, git@host:me/repo
    #[arg(value_name = "URL")]
    repository: String,
    /// The endpoint, made where it is not there; else the repository's name
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The branch that counts; else the repository's own
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    /// The folder below the repository's root
    #[arg(long, value_name = "DIR")]
    path: Option<String>,
    /// The Dockerfile, below that folder
    #[arg(long, value_name = "FILE")]
    dockerfile: Option<String>,
    /// The file that calls runpod.serverless.start, below that folder
    #[arg(long, value_name = "FILE")]
    handler: Option<String>,
    /// The environment of that folder's runyard.toml, where it has one: [env.NAME]
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// What makes a commit one to deploy
    #[arg(long, value_enum, default_value = "push")]
    on: On,
    /// An environment variable of every release; K alone takes the value from here
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,
    #[command(flatten)]
    secret_env: SecretEnvArgs,
    /// Give each pull request from the same repository an endpoint of its own; found by webhook, and by the forge's API
    #[arg(long)]
    pull_requests: bool,
    /// A token that reads the repository, and writes commit statuses where it may
    #[arg(long, value_name = "TOKEN", env = "RUNYARD_GIT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The name that goes with the token, where the forge wants a certain one
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A file with a private key that reads the repository over ssh
    #[arg(long, value_name = "FILE")]
    deploy_key: Option<PathBuf>,
    /// The secret of the webhook; else one is made
    #[arg(long, value_name = "TEXT", env = "RUNYARD_GIT_WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Option<String>,
    /// The forge's API, where it is not known from the host: https://HOST/api/v3 (GitHub), …/api/v4 (GitLab), …/api/v1 (Gitea)
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// How often to look at the repository: 1m, 30s; off: only when the webhook tells
    #[arg(long, value_name = "DURATION", value_parser = poll)]
    poll: Option<u32>,
}

impl Connect {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let endpoint = match &self.endpoint {
            Some(name) => name.clone(),
            None => name_of(&self.repository)?,
        };
        let call = Call::new(Method::POST, path::api(&["endpoints", &endpoint, "git"]));
        let call = call.json(&self.body(context.ui)?).timeout(ANSWER);
        let reply = context.client().await?.send(call).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let connection: Connection = reply.parse()?;
        let name = text::line(connection.name(), 80);
        context.ui.write(&format!(
            "{name} follows {}, {}\n  webhook  {}\n  secret   {}\n",
            text::line(&connection.url, 200),
            connection.follows(),
            text::line(connection.webhook.url.as_deref().unwrap_or_default(), 400),
            text::line(connection.webhook.secret.as_deref().unwrap_or_default(), 200),
        ))?;
        if connection.pull_requests && connection.api.is_none() {
            context.ui.note(
                "pull requests are heard of by webhook alone: the forge's API is not known; connect with --api to have it \
                 asked for them",
            );
        }
        context.ui.note("the secret is not shown again; 'runyard git show' tells how the first commit fares");
        Ok(())
    }

    fn body(&self, ui: Ui) -> anyhow::Result<Value> {
        let on = self.on.to_possible_value().expect("no trigger is skipped").get_name().to_owned();
        let key = match &self.deploy_key {
            Some(file) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failure::usage(format!("the deploy key {} cannot be read", file.display()))
                    .cause(error.to_string())
            })?),
            None => None,
        };
        let mut body = Map::new();
        body.insert("url".to_owned(), self.repository.clone().into());
        body.insert("on".to_owned(), on.into());
        body.insert("create".to_owned(), true.into());
        body.insert("pullRequests".to_owned(), self.pull_requests.into());
        body.insert("env".to_owned(), json!(plan::variables(&self.env)?));
        if !self.secret_env.is_empty() {
            body.insert("secretEnv".to_owned(), json!(self.secret_env.read(ui)?));
        }
        for (name, value) in [
            ("branch", self.branch.clone()),
            ("path", self.path.as_deref().and_then(inner)),
            ("dockerfile", self.dockerfile.as_deref().and_then(inner)),
            ("handler", self.handler.as_deref().and_then(inner)),
            ("environment", self.environment.clone()),
            ("token", self.token.clone()),
            ("user", self.user.clone()),
            ("deployKey", key),
            ("webhookSecret", self.webhook_secret.clone()),
            ("api", self.api.clone()),
        ] {
            if let Some(value) = value {
                body.insert(name.to_owned(), value.into());
            }
        }
        if let Some(seconds) = self.poll {
            body.insert("pollS".to_owned(), seconds.into());
        }
        Ok(Value::Object(body))
    }
}

/// `./a/` as `a`, and the root itself as nothing.
fn inner(path: &str) -> Option<String> {
    let path = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
    (!path.is_empty() && path != ".").then(|| path.to_owned())
}

/// The last part of a repository's address, as an endpoint's name.
fn name_of(url: &str) -> Result<String, Failure> {
    let last = url.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    plan::name_from(last.strip_suffix(".git").unwrap_or(last)).ok_or_else(|| {
        Failure::usage(format!("'{}' has no name for an endpoint", text::line(last, 80)))
            .hint("--endpoint NAME")
    })
}

fn poll(text: &str) -> Result<u32, String> {
    if text == "off" { Ok(0) } else { time::whole_seconds(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_name_endpoints() {
        for (url, name) in [
            ("github.com/me/My_App.git", "my_app"),
            ("git@host:me/t2i", "t2i"),
            ("git@host:t2i.git", "t2i"),
            ("https://host/a/b/", "b"),
        ] {
            assert_eq!(name_of(url), Ok(name.to_owned()), "{url}");
        }
        assert!(name_of("https://host/---").is_err());
    }

    #[test]
    fn folders_are_written_in_many_ways() {
        assert_eq!(inner("./a/b/"), Some("a/b".to_owned()));
        assert_eq!(inner("."), None);
        assert_eq!(inner("../x"), Some("../x".to_owned()));
        assert_eq!((poll("off"), poll("2m")), (Ok(0), Ok(120)));
    }
}
