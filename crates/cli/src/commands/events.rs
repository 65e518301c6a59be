//! `runyard events [EP]`: what changes, as it does.

use clap::Args;
use http::Method;

use crate::client::{Call, path};
use crate::context::Context;
use crate::output::{text, time};
use crate::views::Event;

/// Show what changes, as it does, until it is ended
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard events t2i
  runyard events --json | while read -r event; do runyard jobs t2i -n 5; done

An event says that something changed, and not what it is now: look at the thing itself.")]
pub struct Events {
    /// Only what is about this endpoint
    #[arg(value_name = "ENDPOINT")]
    endpoint: Option<String>,
}

impl Events {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let path = path::query(&path::api(&["events"]), &[("endpoint", self.endpoint)]);
        let mut lines = context.client().await?.lines(Call::new(Method::GET, path)).await?;
        while let Some(line) = lines.next().await? {
            if context.ui.json {
                context.ui.json_line(&line)?;
                continue;
            }
            let event: Event = serde_json::from_str(&line)?;
            if event.kind == "begun" {
                context.ui.note("listening; Ctrl-C ends it");
                continue;
            }
            let about = [event.endpoint_name.or(event.endpoint), event.worker];
            let about: Vec<String> = about.iter().flatten().map(|word| text::line(word, 100)).collect();
            context.ui.line(&format!(
                "{}  {:<9}{}",
                time::clock(event.at),
                text::line(&event.kind, 20),
                about.join(" ")
            ))?;
        }
        Ok(())
    }
}
