//! `runyard top [EP]`: GPUs, endpoints and workers as they are, again and again.

mod gather;
mod screen;
mod show;

use std::time::Duration;

use clap::Args;

use crate::context::Context;
use crate::output::time;

/// Watch GPUs, endpoints and workers: use, queues, jobs a minute
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard top
  runyard top t2i --every 5s
  runyard top --once                       one look, as into a file
  runyard top --json | jq '.endpoints[] | {name, queue}'

Keys: q leaves, Space looks at once. Jobs a minute, errors and times are of the last five minutes.")]
pub struct Top {
    /// Only this endpoint and its workers
    #[arg(value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// How often to look
    #[arg(long, value_name = "DURATION", value_parser = time::duration, default_value = "2s")]
    every: Duration,
    /// Look once and end; so it is, too, where nobody looks at a terminal, and with --json
    #[arg(long)]
    once: bool,
}

/// No oftener than this: a look measures for a second.
const OFTENEST: Duration = Duration::from_secs(1);

impl Top {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let ui = context.ui;
        if ui.json {
            let seen = gather::look(&client, self.endpoint.as_deref()).await?;
            return ui.document(&serde_json::to_string(&seen)?);
        }
        if self.once || !screen::is_there(ui) {
            let seen = gather::look(&client, self.endpoint.as_deref()).await?;
            return ui.write(&show::page(&seen, ui.out, ui.out_width()));
        }
        let mut screen = screen::Screen::open()?;
        loop {
            let seen = tokio::select! {
                seen = gather::look(&client, self.endpoint.as_deref()) => seen?,
                () = screen.left() => return Ok(()),
            };
            let (rows, columns) = screen::Screen::size();
            screen.draw(ui, &show::page(&seen, ui.out, Some(columns)), rows)?;
            tokio::select! {
                () = tokio::time::sleep(self.every.max(OFTENEST)) => {}
                goes_on = screen.key() => {
                    if !goes_on {
                        return Ok(());
                    }
                }
            }
        }
    }
}
