//! `runyard status JOB`: where one job is, and its output when it is done.

use clap::Args;
use serde_json::value::RawValue;

use crate::client::path;
use crate::commands::run::save;
use crate::context::Context;
use crate::job_ids;
use crate::output::{Facts, Tone, Ui, json, text, time};
use crate::views::{Job, Queue, Webhook};

/// Show one job: its state, times, worker and output
#[derive(Debug, Args)]
pub struct Status {
    /// The job's id, or its beginning
    #[arg(value_name = "JOB")]
    job: String,
    /// Write the output to a file, as `runyard run -o` does
    #[arg(short, long, value_name = "FILE")]
    output: Option<std::path::PathBuf>,
}

impl Status {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let id = job_ids::resolve(&client, &self.job).await?;
        let reply = client.get(path::api(&["jobs", &id])).await?;
        let job: Job = reply.parse()?;
        if let (Some(file), Some(output)) = (&self.output, &job.output) {
            save::write(file, output, context.ui)?;
        }
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        context.ui.write(&render(&job, context.ui, self.output.is_some(), time::now_ms()))
    }
}

/// The state of a job as a tone.
pub fn tone(status: &str) -> Tone {
    match status {
        "COMPLETED" => Tone::Good,
        "FAILED" | "TIMED_OUT" => Tone::Bad,
        "CANCELLED" | "IN_QUEUE" => Tone::Warn,
        _ => Tone::Plain,
    }
}

fn render(job: &Job, ui: Ui, saved: bool, now: i64) -> String {
    let head = format!("job {} · {} · ", text::line(&job.id, 120), text::line(job.endpoint_label(), 80));
    let mut out = format!("{head}{}\n", ui.out.tone(&text::line(&job.status, 40), tone(&job.status)));
    let mut facts = Facts::default();
    let by = job.submitted_by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
    facts.add("submitted", format!("{} ago{by}", time::age(job.submitted_at, now)));
    facts.add("queue", job.queue.as_ref().map_or(String::new(), place));
    facts.add("waited", job.delay_ms.map_or(String::new(), |ms| time::span(Some(ms))));
    facts.add("ran", job.execution_ms.map_or(String::new(), |ms| time::span(Some(ms))));
    facts.add("phase", job.phase.as_deref().unwrap_or_default());
    facts.add("worker", worker(job));
    facts.add("attempt", job.attempt.filter(|a| *a > 1).map_or(String::new(), |a| a.to_string()));
    facts.add(if job.status == "IN_QUEUE" { "waits" } else { "reason" }, reason(job));
    facts.add("error", job.error.as_deref().map(crate::views::text_of).unwrap_or_default());
    for told in &job.webhooks {
        facts.add("webhook", webhook(told, now));
    }
    facts.add("output", job.output.as_deref().filter(|_| !saved).map(|o| shown(o, ui)).unwrap_or_default());
    out.push_str(&facts.render(ui.out));
    out
}

fn worker(job: &Job) -> String {
    let Some(worker) = &job.worker else { return String::new() };
    let release = job.release.map_or(String::new(), |r| format!(", release #{r}"));
    let sdk = job.sdk.as_ref().map_or(String::new(), |sdk| format!(", SDK {sdk}"));
    format!("{worker}{release}{sdk}")
}

/// The reason, where it says more than the error does.
fn reason(job: &Job) -> String {
    let message = job.reason.as_ref().map(|r| r.message.clone()).unwrap_or_default();
    let said = job.error.as_deref().is_some_and(|e| crate::views::text_of(e) == message);
    if said { String::new() } else { message }
}

/// `delivered after 1 try, answered with 200`, `answered with 500; next try in 5.0s`, `given up after 3 tries: …`.
fn webhook(told: &Webhook, now: i64) -> String {
    let last = told.tries.last().map(|last| match (last.status, &last.error) {
        (Some(status), _) => format!("answered with {status}"),
        (None, Some(words)) => text::line(words, 400),
        (None, None) => String::new(),
    });
    let last = last.unwrap_or_default();
    let tries = if told.tried == 1 { "1 try".to_owned() } else { format!("{} tries", told.tried) };
    match (told.state.as_str(), told.next_at) {
        ("delivered", _) => format!("delivered after {tries}, {last}"),
        ("given_up", _) => format!("given up after {tries}: {last}"),
        (_, Some(at)) if told.tried > 0 => format!("{last}; next try {}", until(at, now)),
        _ => "on its way".to_owned(),
    }
}

fn until(at: i64, now: i64) -> String {
    if at > now { format!("in {}", time::span(Some(at - now))) } else { "now".to_owned() }
}

/// `position 3, expected in 12s`.
pub fn place(queue: &Queue) -> String {
    let position = queue.position.map(|p| format!("position {p}"));
    let eta = queue.eta_ms.map(|ms| format!("expected in {}", time::span(Some(ms))));
    position.into_iter().chain(eta).collect::<Vec<_>>().join(", ")
}

fn shown(output: &RawValue, ui: Ui) -> String {
    if ui.out_terminal { json::pretty_for_people(output.get()) } else { json::pretty(output.get()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_says_where_it_is() {
        for (json, expected) in [
            (r#"{"state":"pending","tried":0,"nextAt":5,"tries":[]}"#, "on its way"),
            (
                r#"{"state":"pending","tried":1,"nextAt":6000,"tries":[{"status":500}]}"#,
                "answered with 500; next try in 5.0s",
            ),
            (
                r#"{"state":"delivered","tried":1,"tries":[{"status":204}]}"#,
                "delivered after 1 try, answered with 204",
            ),
            (r#"{"state":"given_up","tried":3,"tries":[{"error":"no"}]}"#, "given up after 3 tries: no"),
        ] {
            let told: Webhook = serde_json::from_str(json).expect("a webhook");
            assert_eq!(webhook(&told, 1_000), expected);
        }
    }
}
