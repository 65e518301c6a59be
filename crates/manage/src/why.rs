//! Why a job waits or failed, and how an endpoint does: one sentence, its causes, what to do.

use axum::Json;
use axum::extract::{Path, State};
use runyard_domain::reason::seconds;
use runyard_domain::{Access, Endpoint, Exit, Job, Outcome, Phase, Release, ReleaseState};
use runyard_store::{Filter, Standing};
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::problem::Problem;
use crate::{Manage, views};

struct Cause {
    code: String,
    sentence: String,
    last_lines: Vec<String>,
}

fn answer(about: &str, status: &str, causes: &[Cause], hints: &[String]) -> Json<Value> {
    let list: Vec<Value> = causes
        .iter()
        .map(|c| json!({"code": c.code, "sentence": c.sentence, "lastLines": c.last_lines}))
        .collect();
    let first = causes.first();
    Json(json!({
        "about": about,
        "status": status,
        "sentence": first.map(|c| c.sentence.clone()),
        "code": first.map(|c| c.code.clone()),
        "causes": list,
        "hints": hints,
    }))
}

pub(crate) async fn job(
    State(manage): State<Manage>,
    auth: Auth,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let job = manage.find_job(&auth.0, &id)?;
    let name = manage.inner.engine.endpoint_by_id(&job.endpoint).map_or_else(String::new, |e| e.name.clone());
    let (cause, mut hints) = cause_of(&manage, &job, &name);
    let mut causes = vec![cause];
    if causes[0].code == "no_release"
        && let Some(endpoint) = manage.inner.engine.endpoint_by_id(&job.endpoint)
    {
        causes.extend(failed_release(&manage, &endpoint)?);
    }
    causes.extend(lost_attempts(&manage, &job)?);
    if job.attempt > 0 {
        hints.push(format!("runyard logs --job {}", job.id));
    }
    let mut reply = answer(&format!("job {} of {name}", job.id), views::status(&job), &causes, &hints);
    if let Phase::Draft { since } | Phase::Waiting { since } | Phase::Held { queued_at: since, .. } =
        job.phase
    {
        reply.0["waitingMs"] = json!(manage.inner.engine.now().since(since));
    }
    Ok(reply)
}

fn cause_of(manage: &Manage, job: &Job, name: &str) -> (Cause, Vec<String>) {
    let now = manage.inner.engine.now();
    let simple = |code: &str, sentence: String| Cause { code: code.into(), sentence, last_lines: Vec::new() };
    match &job.phase {
        Phase::Draft { .. } | Phase::Waiting { .. } | Phase::Held { .. } => {
            let reason = manage.inner.fleet.waiting(job);
            let cause = Cause {
                code: reason.code().into(),
                sentence: reason.sentence(now),
                last_lines: reason.last_lines().to_vec(),
            };
            (cause, hints_for(reason.code(), name))
        }
        Phase::Running { worker, started, .. } => {
            let sentence =
                format!("worker {worker} has been running it for {}", seconds(now.since(*started)));
            (simple("running", sentence), Vec::new())
        }
        Phase::Done { outcome: Outcome::Completed, execution_ms, .. } => {
            let took = execution_ms.map_or_else(String::new, |ms| format!(" after {}", seconds(ms)));
            (simple("completed", format!("it completed{took}")), Vec::new())
        }
        Phase::Done { outcome: Outcome::Cancelled { by }, .. } => {
            (simple("cancelled", format!("it was cancelled by {by}")), Vec::new())
        }
        Phase::Done { outcome: Outcome::Failed { reason, .. } | Outcome::TimedOut { reason }, .. } => {
            let cause = Cause {
                code: reason.code().into(),
                sentence: reason.sentence(),
                last_lines: reason.last_lines().to_vec(),
            };
            let mut hints = hints_for(reason.code(), name);
            hints.push(format!("runyard retry {}", job.id));
            (cause, hints)
        }
    }
}

fn hints_for(code: &str, name: &str) -> Vec<String> {
    match code {
        "no_release" => vec!["runyard deploy".to_owned()],
        "no_worker_allowed" => vec![format!("runyard endpoints set {name} --max 3")],
        "all_busy" => vec![format!("runyard endpoints set {name} --max N allows more workers")],
        "no_gpu_free" => vec!["runyard workers shows who holds which GPU".to_owned()],
        "no_gpu_matches" => {
            vec!["runyard gpus".to_owned(), format!("runyard endpoints set {name} --gpus N")]
        }
        "start_failing" | "exited_before_asking" | "start_failed" => vec![
            format!("runyard logs {name}"),
            format!("runyard rollback {name}, or fix it and runyard deploy"),
        ],
        "image_not_found" | "image_unauthorized" | "wrong_platform" | "no_command" | "command_not_found" => {
            vec![format!("runyard deploy --image REF --name {name}, with one that runs here")]
        }
        "execution_timeout" => vec![format!("runyard endpoints set {name} --execution-timeout 30m")],
        _ => Vec::new(),
    }
}

pub(crate) async fn endpoint(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
) -> Result<Json<Value>, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Read, &ep)?;
    let state = manage.inner.fleet.endpoint_state(&endpoint);
    let reason = state.reason.as_ref();
    let mut causes = vec![Cause {
        code: reason.map_or(state.word, runyard_domain::WaitReason::code).to_owned(),
        sentence: state.sentence,
        last_lines: reason.map_or_else(Vec::new, |r| r.last_lines().to_vec()),
    }];
    causes.extend(failed_release(&manage, &endpoint)?);
    causes.extend(oldest_waiting(&manage, &endpoint)?);
    causes.extend(newest_failure(&manage, &endpoint)?);
    let hints = hints_for(&causes[0].code, &endpoint.name);
    Ok(answer(&format!("endpoint {}", endpoint.name), state.word, &causes, &hints))
}

/// Why the newest release does not serve, where it failed.
fn failed_release(manage: &Manage, endpoint: &Endpoint) -> Result<Option<Cause>, Problem> {
    let releases = manage.inner.engine.reader().releases(&endpoint.id)?;
    let newest = releases.iter().max_by_key(|release| release.number);
    let Some(Release { number, state: ReleaseState::Failed { reason }, .. }) = newest else {
        return Ok(None);
    };
    Ok(Some(Cause {
        code: reason.code().into(),
        sentence: format!("release {number} failed: {}", reason.sentence()),
        last_lines: reason.last_lines().to_vec(),
    }))
}

/// How the workers ended that lost the job before.
fn lost_attempts(manage: &Manage, job: &Job) -> Result<Vec<Cause>, Problem> {
    let mut causes = Vec::new();
    for id in &job.lost_by {
        let Some(record) = manage.inner.engine.reader().worker(id)? else { continue };
        let exit = record.exit.as_ref();
        let how = exit.map_or("was lost with its agent".to_owned(), Exit::sentence);
        let code = if exit.is_some_and(|exit| exit.out_of_memory) { "out_of_memory" } else { "worker_lost" };
        causes.push(Cause {
            code: code.into(),
            sentence: format!("an attempt was lost: worker {id} {how}"),
            last_lines: Vec::new(),
        });
    }
    Ok(causes)
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
    Ok(Some(Cause { code: reason.code().into(), sentence, last_lines: Vec::new() }))
}

fn newest_failure(manage: &Manage, endpoint: &Endpoint) -> Result<Option<Cause>, Problem> {
    let filter = Filter {
        endpoint: Some(endpoint.id.clone()),
        standing: Some(Standing::Failed),
        limit: 1,
        ..Filter::default()
    };
    let jobs = manage.inner.engine.reader().jobs(&filter)?;
    let Some(Job { id, phase: Phase::Done { outcome: Outcome::Failed { reason, .. }, .. }, .. }) =
        jobs.first()
    else {
        return Ok(None);
    };
    let sentence = format!("the newest failed job {id}: {}", reason.sentence());
    Ok(Some(Cause { code: reason.code().into(), sentence, last_lines: reason.last_lines().to_vec() }))
}
