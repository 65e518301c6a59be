//! How an endpoint does.

use axum::Json;
use axum::extract::{Path, State};
use runyard_domain::{Access, Endpoint, Job, Outcome, Phase, WaitReason};
use runyard_store::{Filter, Standing};
use serde_json::Value;

use super::{Cause, Subject, answer};
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;

pub(crate) async fn endpoint(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
) -> Result<Json<Value>, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    let state = manage.inner.fleet.endpoint_state(&endpoint);
    let reason = state.reason.as_ref();
    let mut subject = Subject::default();
    if let Some(reason) = reason {
        subject.of_wait(reason);
        if let WaitReason::StartFailing { exit, .. } = reason {
            // A start that failed below the release says nothing of it.
            let is_its_own = exit.fault.as_ref().is_none_or(|fault| fault.is_its_own());
            subject.back_to = manage.inner.fleet.may_go_back_to(&endpoint).filter(|_| is_its_own);
        }
    }
    let mut causes = vec![Cause {
        code: reason.map_or(state.word, WaitReason::code).to_owned(),
        sentence: state.sentence,
        last_lines: reason.map_or_else(Vec::new, |r| r.last_lines().to_vec()),
    }];
    causes.extend(manage.failed_release(&endpoint)?);
    causes.extend(oldest_waiting(&manage, &endpoint)?);
    causes.extend(newest_failure(&manage, &endpoint, &mut subject)?);
    let mut hints = Vec::new();
    for code in causes.iter().map(|cause| cause.code.as_str()) {
        if runyard_domain::reason::hint::CODES.contains(&code) && hints.is_empty() {
            hints = manage.hints(code, &endpoint, &subject);
        }
    }
    Ok(answer(&format!("endpoint {}", endpoint.name), state.word, &causes, &hints))
}

/// Why the first job in the queue waits, where that says more than the endpoint's state.
fn oldest_waiting(manage: &Manage, endpoint: &Endpoint) -> Result<Option<Cause>, Problem> {
    let live = manage.inner.engine.snapshot(&endpoint.id, 1);
    if live.demand.waiting + live.demand.waiting_low == 0 {
        return Ok(None);
    }
    let filter = Filter {
        endpoint: Some(endpoint.id.clone()),
        standing: Some(Standing::Waiting),
        limit: 1000,
        ..Filter::default()
    };
    let jobs = manage.inner.engine.reader().jobs(&filter)?;
    let Some(first) = jobs.iter().min_by_key(|job| job.seq) else { return Ok(None) };
    let reason = manage.inner.fleet.waiting(first);
    let now = manage.inner.engine.now();
    let count = live.demand.waiting + live.demand.waiting_low;
    let sentence = format!("{count} in the queue; the first waits because {}", reason.sentence(now));
    Ok(Some(Cause::plain(reason.code(), sentence)))
}

/// Why the newest job failed that did, and how many others did so.
fn newest_failure(
    manage: &Manage,
    endpoint: &Endpoint,
    subject: &mut Subject,
) -> Result<Option<Cause>, Problem> {
    let filter = Filter {
        endpoint: Some(endpoint.id.clone()),
        standing: Some(Standing::Failed),
        limit: 1,
        ..Filter::default()
    };
    let jobs = manage.inner.engine.reader().jobs(&filter)?;
    let Some(Job { id, phase: Phase::Done { outcome: Outcome::Failed { reason, .. }, .. }, attempt, .. }) =
        jobs.first()
    else {
        return Ok(None);
    };
    let group = manage.group_of(endpoint, reason)?;
    subject.job = Some(id.clone());
    subject.ran = *attempt > 0;
    subject.back_to = subject.back_to.or_else(|| manage.way_back(endpoint, group.as_ref()));
    let like = match &group {
        Some(group) if group.count > 1 => match manage.like(endpoint, group)?["sentence"].as_str() {
            Some(sentence) => format!("; like it {sentence}"),
            None => String::new(),
        },
        _ => String::new(),
    };
    let sentence = format!("the newest failed job {id}: {}{like}", reason.sentence());
    Ok(Some(Cause::failure(reason, sentence)))
}
