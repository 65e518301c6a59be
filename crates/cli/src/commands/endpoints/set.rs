//! `runyard endpoints set NAME …`: changes settings, without a new release.

use clap::Args;
use http::Method;
use serde_json::{Map, Value};

use crate::client::{Call, path};
use crate::commands::endpoints::show;
use crate::commands::settings::SettingsArgs;
use crate::context::Context;
use crate::errors::Failure;

/// Change settings of an endpoint; what is not named stays
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard endpoints set t2i --min 1 --max 5
  runyard endpoints set t2i --scaler request-count --scaler-value 4
  runyard endpoints set t2i --max 0        stop it")]
pub struct Set {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Give it another name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Variables belong to releases
    #[arg(long, value_name = "K=V", hide = true)]
    env: Vec<String>,
}

impl Set {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        if !self.env.is_empty() {
            return Err(Failure::usage("environment variables belong to a release, not to the endpoint")
                .hint(format!("runyard deploy --name {} --env K=V", self.endpoint))
                .into());
        }
        if self.settings.is_empty() && self.name.is_none() {
            return Err(Failure::usage("nothing to set").hint("runyard help endpoints set").into());
        }
        let client = context.client().await?;
        let mut body = Map::new();
        if let Some(name) = self.name {
            body.insert("name".to_owned(), name.into());
        }
        if !self.settings.is_empty() {
            body.insert("settings".to_owned(), self.settings.resolve(&client, &self.endpoint).await?);
        }
        let call = Call::new(Method::PATCH, path::api(&["endpoints", &self.endpoint]));
        show::print(&client.send(call.json(&Value::Object(body))).await?, context)
    }
}
