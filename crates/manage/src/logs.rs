//! Logs: what workers printed and what happened to them; the newest, or as they come.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use runyard_domain::{Access, EndpointId, JobId, Timestamp, WorkerId};
use runyard_logs::{Level, Query as LogQuery, Reader, Record};
use runyard_runtime::Event;
use runyard_vault::Caller;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::stream::lines;

#[derive(Deserialize)]
pub(crate) struct Which {
    endpoint: Option<String>,
    job: Option<String>,
    worker: Option<String>,
    level: Option<String>,
    q: Option<String>,
    since: Option<i64>,
    limit: Option<usize>,
    build: Option<u32>,
    #[serde(default)]
    follow: bool,
}

fn parsed<T, E: std::fmt::Display>(id: Result<T, E>) -> Result<T, Problem> {
    id.map_err(|error| Problem::invalid(error.to_string()))
}

impl Which {
    fn query(&self, manage: &Manage, caller: &Caller) -> Result<Vec<LogQuery>, Problem> {
        let job = self.job.as_deref().map(|id| parsed(JobId::parse(id))).transpose()?;
        let worker = self.worker.as_deref().map(|id| parsed(WorkerId::parse(id))).transpose()?;
        let level = match self.level.as_deref() {
            None => None,
            Some(word) => Some(Level::from_word(word).ok_or_else(|| {
                Problem::invalid(format!("level '{word}' is none of debug, info, warn, error"))
            })?),
        };
        let endpoints = self.endpoints(manage, caller, job.as_ref(), worker.as_ref())?;
        let query = |endpoint| LogQuery {
            endpoint,
            worker: worker.clone(),
            job: job.clone(),
            build: self.build,
            level,
            text: self.q.clone(),
            since: self.since.map(Timestamp),
            limit: self.limit.unwrap_or(200).clamp(1, 5000),
        };
        Ok(endpoints.into_iter().map(query).collect())
    }

    /// The endpoint that is named, or that the job or worker belongs to, or all that the caller sees.
    fn endpoints(
        &self,
        manage: &Manage,
        caller: &Caller,
        job: Option<&JobId>,
        worker: Option<&WorkerId>,
    ) -> Result<Vec<EndpointId>, Problem> {
        if let Some(ep) = &self.endpoint {
            return Ok(vec![manage.endpoint(caller, Access::Read, ep)?.id.clone()]);
        }
        if let Some(job) = job {
            return Ok(vec![manage.find_job(caller, job.as_str())?.endpoint]);
        }
        if let Some(worker) = worker {
            let record = manage.inner.engine.reader().worker(worker)?;
            let record = record.filter(|r| caller.sees(&r.endpoint));
            let missing = || Problem::not_found(format!("there is no worker '{worker}'"));
            return Ok(vec![record.ok_or_else(missing)?.endpoint]);
        }
        let all = manage.inner.engine.endpoints();
        Ok(all.into_iter().map(|e| e.id.clone()).filter(|id| caller.sees(id)).collect())
    }
}

fn view(record: &Record) -> Value {
    json!({
        "at": record.at.0, "seq": record.seq, "endpoint": record.endpoint, "worker": record.worker,
        "release": record.release, "source": record.source, "level": record.level,
        "job": record.job, "inferred": record.inferred, "message": record.message,
    })
}

pub(crate) async fn read(
    State(manage): State<Manage>,
    auth: Auth,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let queries = which.query(&manage, &auth.0)?;
    // Subscribed before the first look, so that nothing falls between.
    let events = manage.inner.fleet.watch_runtime();
    let limit = which.limit.unwrap_or(200).clamp(1, 5000);
    let reader = Reader::open(&manage.inner.logs);
    if !which.follow {
        let records = blocking(move || newest(&reader, &queries, limit)).await?;
        return Ok(Json(json!({"records": records})).into_response());
    }
    let (sender, response) = lines();
    let what = Follow { reader, queries, skip_first: false, ends: false };
    tokio::spawn(follow(what, events, sender, |record| Some(view(record))));
    Ok(response)
}

fn newest(reader: &Reader, queries: &[LogQuery], limit: usize) -> Result<Vec<Value>, Problem> {
    let mut all: Vec<Record> = Vec::new();
    for query in queries {
        all.extend(reader.query(query).map_err(|error| Problem::internal(&error))?);
    }
    all.sort_by_key(|record| (record.at, record.seq));
    let cut = all.len().saturating_sub(limit);
    Ok(all[cut..].iter().map(view).collect())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Problem::internal(&error)),
    }
}

/// What is followed, and how.
pub(crate) struct Follow {
    /// Where it is read.
    pub(crate) reader: Reader,
    /// What is looked for.
    pub(crate) queries: Vec<LogQuery>,
    /// Only what comes is wanted, not what is there.
    pub(crate) skip_first: bool,
    /// Nothing more can come.
    pub(crate) ends: bool,
}

/// Sends what is there, then looks again whenever a worker printed something. `show` makes of a record what is sent, or
/// leaves it out.
pub(crate) async fn follow<T>(
    what: Follow,
    mut events: tokio::sync::broadcast::Receiver<Event>,
    sender: mpsc::UnboundedSender<T>,
    show: impl Fn(&Record) -> Option<T>,
) {
    let Follow { reader, queries, mut skip_first, ends } = what;
    let mut tails: Vec<_> = queries.into_iter().map(|query| reader.follow(query)).collect();
    loop {
        let polled = blocking(move || {
            let mut records = Vec::new();
            for tail in &mut tails {
                records.extend(tail.poll().map_err(|error| Problem::internal(&error))?);
            }
            records.sort_by_key(|record| (record.at, record.seq));
            Ok((tails, records))
        });
        let Ok((back, records)) = polled.await else { return };
        tails = back;
        if !std::mem::take(&mut skip_first) {
            for shown in records.iter().filter_map(&show) {
                if sender.send(shown).is_err() {
                    return;
                }
            }
        }
        if ends {
            return;
        }
        tokio::select! {
            event = events.recv() => if matches!(event, Err(RecvError::Closed)) { return },
            () = sender.closed() => return,
        }
    }
}
