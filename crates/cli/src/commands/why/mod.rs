//! `runyard why JOB|EP`: the cause in one sentence, what to do, and of a job its life as a waterfall.

mod waterfall;

use std::fmt::Write as _;

use clap::Args;

use crate::client::{Client, Reply, path};
use crate::commands::status;
use crate::context::Context;
use crate::job_ids;
use crate::output::{Tone, Ui, text, time};
use crate::views::{Cause, Why as Explanation};

/// Say why a job waits or failed, or what is wrong with an endpoint
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard why 3f2c9a1e      a job, by the beginning of its id
  runyard why t2i           an endpoint")]
pub struct Why {
    /// A job's id or its beginning, or an endpoint's name or id
    #[arg(value_name = "JOB|ENDPOINT")]
    about: String,
}

impl Why {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let (reply, job) = explain(&client, &self.about).await?;
        let timeline = match job {
            Some(job) => timeline(&client, &job).await?,
            None => None,
        };
        if context.ui.json {
            return context.ui.document(&with_timeline(&reply.text, timeline.as_ref()));
        }
        let mut shown = render(&reply.parse()?, &self.about, context.ui);
        if let Some(timeline) = timeline {
            shown.push_str(&waterfall::render(&timeline.parse()?, context.ui.out));
        }
        context.ui.write(&shown)
    }
}

/// A whole job id is a job. Anything else may name an endpoint first: `cafe` is both a name and hex digits.
async fn explain(client: &Client, about: &str) -> anyhow::Result<(Reply, Option<String>)> {
    if job_ids::is_whole(about) {
        return Ok((client.get(path::api(&["jobs", about, "why"])).await?, Some(about.to_owned())));
    }
    match client.get(path::api(&["endpoints", about, "why"])).await {
        Err(e) if e.is_not_found() && job_ids::is_prefix(about) => {
            let id = job_ids::resolve(client, about).await?;
            Ok((client.get(path::api(&["jobs", &id, "why"])).await?, Some(id)))
        }
        other => Ok((other?, None)),
    }
}

/// The waterfall of a job; an older server has none.
async fn timeline(client: &Client, job: &str) -> anyhow::Result<Option<Reply>> {
    match client.get(path::api(&["jobs", job, "timeline"])).await {
        Err(error) if error.is_not_found() => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// Both answers as one document.
fn with_timeline(why: &str, timeline: Option<&Reply>) -> String {
    match (timeline, why.trim_end().strip_suffix('}')) {
        (Some(timeline), Some(open)) => format!("{open},\"timeline\":{}}}", timeline.text),
        _ => why.to_owned(),
    }
}

fn render(why: &Explanation, asked: &str, ui: Ui) -> String {
    let about = text::line(why.about.as_deref().unwrap_or(asked), 160);
    let mut out = about;
    if let Some(status) = &why.status {
        let shown = ui.out.tone(&text::line(status, 40), status::tone(status));
        let _ = write!(out, " · {shown}");
    }
    if let Some(ms) = why.waiting_ms {
        let _ = write!(out, " · waiting for {}", time::span(Some(ms)));
    }
    out.push('\n');
    if why.causes.is_empty() {
        push_cause(&mut out, "cause", &why.sentence, &[], ui);
    }
    for (index, Cause { sentence, last_lines, .. }) in why.causes.iter().enumerate() {
        push_cause(&mut out, if index == 0 { "cause" } else { "also" }, sentence, last_lines, ui);
    }
    if let Some(like) = &why.like {
        let _ = writeln!(out, "  {}   {}", ui.out.tone("like", Tone::Dim), text::line(&like.sentence, 400));
    }
    for hint in &why.hints {
        let _ = writeln!(out, "  {}    {}", ui.out.tone("try", Tone::Dim), text::line(hint, 400));
    }
    out
}

fn push_cause(out: &mut String, label: &str, sentence: &str, lines: &[String], ui: Ui) {
    let sentence = text::clean(sentence).trim_end().replace('\n', "\n         ");
    let pad = " ".repeat(5 - label.len());
    let _ = writeln!(out, "  {}{pad}  {sentence}", ui.out.tone(label, Tone::Dim));
    for line in lines {
        let _ = writeln!(out, "         {} {}", ui.out.tone("|", Tone::Dim), text::clean(line).trim_end());
    }
}
