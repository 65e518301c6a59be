//! Repositories that endpoints follow: what was looked at and built last, and a new connection.

use askama::Template;
use serde::Deserialize;
use serde_json::Value;

use crate::call::Trouble;
use crate::forms::Form;
use crate::frame::Frame;
use crate::pages::{endpoints, page};
use crate::place::Query;
use crate::session::Visit;
use crate::show::{self, State, Tone};

#[derive(Deserialize)]
struct List {
    connections: Vec<Connection>,
}

/// `Connection`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    endpoint_name: Option<String>,
    from: String,
    url: String,
    branch: Option<String>,
    on: Option<String>,
    path: Option<String>,
    poll_s: Option<u32>,
    #[serde(default)]
    pull_requests: bool,
    trouble: Option<String>,
    builds: Vec<Build>,
    previews: Vec<Preview>,
    created_at: i64,
    created_by: String,
    webhook: Option<Hook>,
}

#[derive(Deserialize)]
struct Hook {
    url: String,
}

/// `Build`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Build {
    commit: String,
    reference: String,
    title: Option<String>,
    state: String,
    why: Option<String>,
    release: Option<u32>,
    queued_at: i64,
    ended_at: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preview {
    number: u64,
    endpoint_name: Option<String>,
    branch: String,
}

impl Build {
    fn pill(&self) -> String {
        let state = match self.state.as_str() {
            "queued" => State::new(Tone::Idle, "Queued"),
            "building" => State::new(Tone::Starting, "Building"),
            "deployed" => State::new(Tone::Ok, "Deployed"),
            "failed" => State::new(Tone::Bad, "Failed"),
            "superseded" => State::new(Tone::Idle, "Superseded"),
            other => State::new(Tone::Idle, other),
        };
        state.pill()
    }

    fn short(&self) -> &str {
        self.commit.get(..8).unwrap_or(&self.commit)
    }

    fn when(&self) -> i64 {
        self.ended_at.unwrap_or(self.queued_at)
    }
}

impl Connection {
    fn name(&self) -> &str {
        self.endpoint_name.as_deref().unwrap_or("(removed)")
    }

    /// What it follows, in words.
    fn follows(&self) -> String {
        if self.from == "pushed" {
            return "what is pushed here".to_owned();
        }
        let mut words = format!("branch {}", self.branch.as_deref().unwrap_or("main"));
        if let Some(path) = &self.path {
            words.extend([", folder ", path]);
        }
        let on = self.on.as_deref().unwrap_or("push");
        words.extend([", on ", on]);
        match self.poll_s.unwrap_or(0) {
            0 => words.push_str(", by webhook alone"),
            s => words.extend([", looked at every ", &show::span(i64::from(s) * 1_000)]),
        }
        if self.pull_requests {
            words.push_str(", with pull requests");
        }
        words
    }
}

/// A connection that was just made: its webhook's secret is shown this once.
struct Made {
    endpoint: String,
    url: String,
    secret: String,
}

#[derive(Template)]
#[template(path = "git.html", blocks = ["live"])]
pub(crate) struct Git {
    frame: Frame,
    connections: Vec<Connection>,
    /// Those that follow nothing.
    endpoints: Vec<String>,
    made: Option<Made>,
    typed: Form,
    wrong: Option<String>,
}

page!(Git: "live" = as_live);

impl Git {
    /// Shows what a new connection's webhook needs.
    pub(crate) fn made(&mut self, made: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.made = Some(Made {
            endpoint: text(&made["endpointName"]),
            url: text(&made["webhook"]["url"]),
            secret: text(&made["webhook"]["secret"]),
        });
    }

    fn value(&self, name: &str) -> &str {
        self.typed.get(name).unwrap_or_default()
    }
}

/// Loads it; with a form that was refused, and why.
pub(crate) async fn load(
    visit: &Visit,
    query: &Query,
    refused: Option<(&Form, String)>,
) -> Result<Git, Trouble> {
    let mut frame = Frame::new(visit, "/git", "Git", "/git", query);
    frame.same.cli = vec!["runyard git list".into(), "runyard git connect URL --endpoint EP".into()];
    frame.same.api = vec!["GET /api/v1/git".into(), "POST /api/v1/endpoints/EP/git {\"url\": …}".into()];
    let List { mut connections } = visit.get("/api/v1/git?limit=1000").await?;
    for connection in &mut connections {
        connection.builds.sort_by_key(|build| std::cmp::Reverse(build.queued_at));
        connection.builds.truncate(5);
    }
    connections.sort_by(|a, b| a.endpoint_name.cmp(&b.endpoint_name));
    let endpoints = endpoints::every(visit).await?;
    let follows = |name: &str| connections.iter().any(|one| one.endpoint_name.as_deref() == Some(name));
    let endpoints =
        endpoints.into_iter().map(|endpoint| endpoint.name).filter(|name| !follows(name)).collect();
    let wrong = refused.as_ref().map(|(_, why)| why.clone());
    let mut typed = refused.map(|(form, _)| form.clone()).unwrap_or_default();
    if let Some(ep) = query.get("endpoint") {
        typed.push("endpoint".to_owned(), ep.to_owned());
    }
    Ok(Git { frame, connections, endpoints, made: None, typed, wrong })
}
