//! `runyard endpoints create NAME`: an endpoint without a release. `runyard deploy` makes one by itself.

use clap::Args;
use serde_json::json;

use crate::client::path;
use crate::commands::endpoints::show;
use crate::commands::settings::SettingsArgs;
use crate::context::Context;

/// Make an endpoint without a release
#[derive(Debug, Args)]
pub struct Create {
    /// Its name: lowercase letters, digits, '-', '_' and '.'
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Create {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let settings = self.settings.resolve(&client, &self.name).await?;
        let body = json!({"name": self.name, "settings": settings});
        show::print(&client.post(path::api(&["endpoints"]), &body).await?, context)
    }
}
