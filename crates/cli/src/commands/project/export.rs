//! `runyard export ENDPOINT`: the `runyard.toml` of an endpoint that is there.

use std::collections::BTreeMap;

use clap::Args;
use runyard_domain::{PythonWish, Settings};
use runyard_project::{Built, Live, write};
use serde::Deserialize;
use serde_json::json;

use crate::client::path;
use crate::context::Context;
use crate::output::text;

/// Print the runyard.toml of an endpoint
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard export t2i > runyard.toml

Only what is not as usual is written. Of secrets there are the names alone.")]
pub struct Export {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
}

#[derive(Deserialize)]
struct Endpoint {
    name: String,
    settings: Settings,
    serving: Option<u32>,
    managed: Option<Managed>,
}

/// What the file that was applied last asked for.
#[derive(Deserialize)]
struct Managed {
    release: Option<u32>,
    #[serde(default)]
    container: Option<Built>,
}

#[derive(Deserialize)]
struct Listed {
    releases: Vec<Release>,
}

#[derive(Deserialize)]
struct Release {
    number: u32,
    #[serde(default)]
    handler: String,
    #[serde(default)]
    bundle: String,
    image: Option<Image>,
    #[serde(default, rename = "pythonWish")]
    python: Option<PythonWish>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default, rename = "secureEnv")]
    secure_env: Vec<String>,
}

#[derive(Deserialize)]
struct Image {
    name: String,
    entrypoint: Option<Vec<String>>,
    command: Option<Vec<String>>,
}

impl Image {
    /// How it is asked for, as far as the image itself says.
    fn built(self, is_ready: bool) -> Built {
        let Self { name, entrypoint, command } = self;
        Built { image: Some(name).filter(|_| is_ready), entrypoint, command, ..Built::default() }
    }
}

impl Export {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let endpoint: Endpoint = client.get(path::api(&["endpoints", &self.endpoint])).await?.parse()?;
        let listed: Listed =
            client.all(path::api(&["endpoints", &self.endpoint, "releases"]), "releases").await?.parse()?;
        let serving = listed.releases.into_iter().find(|release| Some(release.number) == endpoint.serving);
        let secure = serving.as_ref().map(|release| release.secure_env.clone()).unwrap_or_default();
        let applied = endpoint.managed.as_ref().filter(|managed| managed.release == endpoint.serving);
        let (handler, built, mut env, python) = match serving {
            Some(Release { image: Some(image), bundle, env, .. }) => {
                let asked = applied.and_then(|managed| managed.container.clone());
                (None, Some(asked.unwrap_or_else(|| image.built(bundle.is_empty()))), env, None)
            }
            Some(Release { handler, env, python, .. }) => {
                (Some(handler).filter(|file| !file.is_empty()), None, env, python)
            }
            None => (None, None, BTreeMap::new(), None),
        };
        // Their values are known to nobody; they stay with the endpoint, also when the file is applied.
        env.retain(|name, _| !secure.contains(name));
        if !secure.is_empty() {
            let names = text::line(&secure.join(", "), 400);
            context.ui.note(&format!("not in the file, because their values are secret: {names}"));
        }
        let Endpoint { name, settings, .. } = endpoint;
        let python = python.unwrap_or_default();
        let text = write(&Live { name, settings, handler, python, built, env });
        if context.ui.json {
            return context.ui.document(&json!({"file": "runyard.toml", "text": text}).to_string());
        }
        context.ui.write(&text)
    }
}
