//! `runyard endpoints set NAME …`: changes settings, without a new release, and variables, with one.

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use crate::client::{Call, path};
use crate::commands::deploy::plan;
use crate::commands::deploy::rollout::Rollout;
use crate::commands::endpoints::show;
use crate::commands::secret_env::SecretEnvArgs;
use crate::commands::settings::SettingsArgs;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::text;

/// Change settings or variables of an endpoint; what is not named stays
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard endpoints set t2i --min 1 --max 5
  runyard endpoints set t2i --scaler request-count --scaler-value 4
  runyard endpoints set t2i --max 0        stop it
  runyard endpoints set t2i --env MODE=fast --secret-env HF_TOKEN --unset-env OLD

Settings hold at once. Variables belong to releases: other ones make a release of the same code, which is tested and
takes over worker by worker.")]
pub struct Set {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    /// Give it another name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Set an environment variable; K alone takes the value from here
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,
    #[command(flatten)]
    secret_env: SecretEnvArgs,
    /// Take a variable away, plain or secret
    #[arg(long, value_name = "K")]
    unset_env: Vec<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Set {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let other_env = !self.env.is_empty() || !self.secret_env.is_empty() || !self.unset_env.is_empty();
        let other_settings = !self.settings.is_empty() || self.name.is_some();
        if !other_env && !other_settings {
            return Err(Failure::usage("nothing to set").hint("runyard help endpoints set").into());
        }
        let variables = if other_env { Some(self.variables(context)?) } else { None };
        let client = context.client().await?;
        let mut endpoint = self.endpoint.clone();
        if other_settings {
            let mut body = Map::new();
            if let Some(name) = &self.name {
                body.insert("name".to_owned(), name.clone().into());
            }
            if !self.settings.is_empty() {
                body.insert("settings".to_owned(), self.settings.resolve(&client, &self.endpoint).await?);
            }
            let call = Call::new(Method::PATCH, path::api(&["endpoints", &self.endpoint]));
            let reply = client.send(call.json(&Value::Object(body))).await?;
            if variables.is_none() {
                return show::print(&reply, context);
            }
            endpoint = self.name.unwrap_or(endpoint);
        }
        let Some(variables) = variables else { return Ok(()) };
        let call = Call::new(Method::POST, path::api(&["endpoints", &endpoint, "env"])).json(&variables);
        let done = Rollout::new(&client, &endpoint, context.ui).follow(call).await?;
        if context.ui.json {
            return Ok(());
        }
        let number = done.release.map_or(String::new(), |n| format!(" release #{n} of"));
        context.ui.line(&format!("serving{number} {}", text::line(&endpoint, 80)))
    }

    /// The body of the call that changes variables.
    fn variables(&self, context: &Context) -> anyhow::Result<Value> {
        let mut env: Map<String, Value> =
            plan::variables(&self.env)?.into_iter().map(|(name, value)| (name, value.into())).collect();
        for name in &self.unset_env {
            plan::check_variable(name)?;
            env.entry(name.clone()).or_insert(Value::Null);
        }
        Ok(json!({"env": env, "secretEnv": self.secret_env.read(context.ui)?}))
    }
}
