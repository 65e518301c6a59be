//! `runyard batch results`: page after page, so that neither side holds all of them.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Which;
use crate::client::path;
use crate::context::Context;
use crate::output::json;

/// How many are asked for at once.
const PAGE: usize = 100;

#[derive(Debug, Args)]
pub struct Results {
    #[command(flatten)]
    which: Which,
    /// Write them to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    requests: Vec<Box<RawValue>>,
    has_more: bool,
}

impl Results {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let mut file = self.output.as_deref().map(create).transpose()?;
        let mut offset = 0;
        loop {
            let values = [("offset", Some(offset.to_string())), ("limit", Some(PAGE.to_string()))];
            let page = path::query(&self.which.path(&["requests"]), &values);
            let page: Page = client.get(page).await?.parse()?;
            for request in &page.requests {
                match &mut file {
                    Some(file) => writeln!(file, "{}", json::compact(request.get()))?,
                    None => context.ui.json_line(request.get())?,
                }
            }
            offset += page.requests.len();
            if !page.has_more || page.requests.is_empty() {
                break;
            }
        }
        if let (Some(mut file), Some(path)) = (file, &self.output) {
            file.flush()?;
            context.ui.note(&format!("wrote {offset} results to {}", path.display()));
        }
        Ok(())
    }
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write '{}'", path.display()))?;
    Ok(BufWriter::new(file))
}
