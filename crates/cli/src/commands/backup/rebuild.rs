//! `runyard backup rebuild`: the Python environments that a restored directory lacks.

use std::path::Path;
use std::time::Instant;

use clap::Args;
use runyard_server::environments::{self, Told};
use serde_json::json;

use super::data_dir;
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::{Mark, Steps};

/// Make the Python environments that releases of a data directory lack
#[derive(Debug, Args)]
pub struct Rebuild {}

impl Rebuild {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let failed = rebuild(&data_dir(context)?, context).await?;
        if context.ui.json {
            context.ui.document(&json!({"environmentsMissing": failed}).to_string())?;
        }
        if failed > 0 { Err(missing(failed)) } else { Ok(()) }
    }
}

/// Some environments could not be made.
pub fn missing(count: usize) -> anyhow::Error {
    Failure::new(
        Code::Unsuccessful,
        format!("{count} environments could not be made; everything else is there"),
    )
    .hint("runyard backup rebuild --data DIR tries again")
    .hint("runyard deploy makes a new release")
    .into()
}

/// Makes what is missing, and says so; answers how many failed.
pub async fn rebuild(data: &Path, context: &Context) -> anyhow::Result<usize> {
    if !data.join("db").is_dir() {
        let text = format!("there is no data directory at {}", data.display());
        return Err(Failure::new(Code::NotFound, text).into());
    }
    let mut shown = Shown { steps: Steps::new(context.ui), begun: Instant::now(), what: String::new() };
    Ok(environments::rebuild(data, &mut shown).await?)
}

struct Shown {
    steps: Steps,
    begun: Instant,
    what: String,
}

impl Told for Shown {
    fn begins(&mut self, endpoint: &str, number: u32) {
        self.begun = Instant::now();
        self.what = format!("{endpoint} #{number}");
        self.steps.now("env", &self.what);
    }

    fn line(&mut self, line: &str) {
        self.steps.now("env", &format!("{}: {line}", self.what));
    }

    fn ends(&mut self, _endpoint: &str, _number: u32, outcome: Result<(), String>) {
        let ms = Some(self.begun.elapsed().as_millis() as i64);
        match outcome {
            Ok(()) => self.steps.end(Mark::Done, "env", &self.what, ms),
            Err(why) => self.steps.end(Mark::Failed, "env", &format!("{}: {why}", self.what), ms),
        }
    }
}
