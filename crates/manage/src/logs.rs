//! Logs: what workers printed and what happened to them; the newest, or as they are found, or as they come.

mod asked;
pub(crate) mod counts;
mod follow;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use runyard_logs::{Query as LogQuery, Reader, Record, Shown};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::stream::bounded_lines;
use asked::{Asked, How};
pub(crate) use follow::{Follow, follow};

/// Searches that read files at the same time; others wait for their turn.
pub(crate) const SEARCHES: usize = 4;

/// Why a call with these parameters is refused, where it is; for the fuzz targets.
pub(crate) fn refusal(pairs: &[(String, String)]) -> Option<String> {
    asked::probe(pairs).err().or_else(|| counts::refusal(pairs))
}

/// A record as it is told: what is not known of it is left out, but for what older programs ask for.
fn view(record: &Record) -> Value {
    let mut view = json!({
        "at": record.at.0, "seq": record.seq, "endpoint": record.endpoint, "worker": record.worker,
        "release": record.release, "source": record.source, "level": record.level,
        "job": record.job, "inferred": record.inferred, "message": record.message,
    });
    let folded = Some(record.folded()).filter(|states| *states > 0);
    let more = [
        ("attempt", record.attempt.map(Value::from)),
        ("partial", record.partial.then_some(Value::Bool(true))),
        ("gap", record.gap.map(Value::from)),
        ("folded", folded.map(Value::from)),
        ("fields", record.fields().map(Value::from)),
        ("raw", record.raw.clone().map(Value::from)),
    ];
    for (name, value) in more.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        view[name] = value;
    }
    view
}

pub(crate) async fn read(
    State(manage): State<Manage>,
    auth: Auth,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let asked = Asked::parse(&pairs)?;
    let queries = asked.queries(&manage, &auth.0)?;
    // Subscribed before the first look, so that nothing falls between.
    let events = manage.inner.fleet.watch_runtime();
    let reader = Reader::open(&manage.inner.logs);
    match asked.how {
        How::Newest { context } => {
            let _turn = manage.inner.searches.acquire().await;
            let found = blocking(move || newest(&reader, &queries, context)).await?;
            if found.records.is_empty() {
                asked.is_known(&manage, &auth.0)?;
            }
            Ok(Json(json!({"records": found.records, "more": found.more})).into_response())
        }
        How::Found => {
            if queries.is_empty() {
                asked.is_known(&manage, &auth.0)?;
            }
            let (sender, response) = bounded_lines();
            tokio::spawn(found(manage.clone(), reader, queries, sender));
            Ok(response)
        }
        How::Follow => {
            asked.is_known(&manage, &auth.0)?;
            let (sender, response) = bounded_lines();
            let what = Follow { reader, queries, skip_first: false, ends: false };
            tokio::spawn(follow(what, events, sender, |record| Some(view(record))));
            Ok(response)
        }
    }
}

/// The newest records, oldest first.
struct Newest {
    records: Vec<Value>,
    /// Whether there are older ones that match.
    more: bool,
}

fn newest(reader: &Reader, queries: &[LogQuery], context: u64) -> Result<Newest, Problem> {
    let failed = |error| Problem::internal(&error);
    let limit = queries.first().map_or(0, |query| query.limit);
    let (mut all, mut more): (Vec<Record>, bool) = (Vec::new(), false);
    for query in queries {
        let (records, older) = reader.newest(query).map_err(failed)?;
        all.extend(records);
        more |= older;
    }
    all.sort_by(|a, b| (a.at, &a.worker, a.seq).cmp(&(b.at, &b.worker, b.seq)));
    let cut = all.len().saturating_sub(limit);
    let records: Vec<Record> = all.split_off(cut);
    more |= cut > 0;
    if context == 0 {
        return Ok(Newest { records: records.iter().map(view).collect(), more });
    }
    let mut views = Vec::new();
    for query in queries {
        let is_own = |record: &&Record| record.endpoint == query.endpoint;
        let own: Vec<Record> = records.iter().filter(is_own).cloned().collect();
        for Shown { record, is_context } in reader.around(query, &own, context).map_err(failed)? {
            let mut view = view(&record);
            if is_context {
                view["context"] = true.into();
            }
            views.push(view);
        }
    }
    Ok(Newest { records: views, more })
}

/// Sends what matches as it is found, newest first, and how far the search is.
async fn found(manage: Manage, reader: Reader, queries: Vec<LogQuery>, sender: mpsc::Sender<Value>) {
    let mut queries = queries.into_iter().peekable();
    while let Some(query) = queries.next() {
        let mut finding = Finding { left: query.limit, told: 0, is_last: queries.peek().is_none() };
        if finding.run(&manage, &reader, query, &sender).await.is_none() {
            return;
        }
    }
}

/// One search that is told as it goes on.
struct Finding {
    /// So many more records may be sent.
    left: usize,
    /// The percents that were told.
    told: u64,
    /// Whether no other search comes after it.
    is_last: bool,
}

impl Finding {
    /// Searches to the end; none where nobody listens any more, or it failed.
    async fn run(
        &mut self,
        manage: &Manage,
        reader: &Reader,
        query: LogQuery,
        sender: &mpsc::Sender<Value>,
    ) -> Option<()> {
        let reader = reader.clone();
        let failed = |error| Problem::internal(&error);
        let turn = manage.inner.searches.acquire().await.ok()?;
        let mut search = blocking(move || reader.search(&query).map_err(failed)).await.ok()?;
        drop(turn);
        loop {
            let turn = manage.inner.searches.acquire().await.ok()?;
            let stepped = blocking(move || {
                let step = search.step().map_err(failed)?;
                Ok((search, step))
            });
            let (back, step) = stepped.await.ok()?;
            drop(turn);
            search = back;
            let more = step.records.len() > self.left;
            for record in step.records.iter().take(self.left) {
                sender.send(view(record)).await.ok()?;
            }
            self.left = self.left.saturating_sub(step.records.len());
            let is_last = step.is_last || self.left == 0;
            let percent = (step.done * 100).checked_div(step.total).unwrap_or(100);
            if is_last || percent > self.told {
                self.told = percent;
                let more = more || is_last && !step.is_last;
                let is_end = is_last && self.is_last;
                let told = json!({"done": step.done, "total": step.total, "isLast": is_end, "more": more});
                sender.send(json!({"progress": told})).await.ok()?;
            }
            if is_last {
                return Some(());
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Problem::internal(&error)),
    }
}
