//! Why a job waits or failed, and how an endpoint does: one sentence, its causes, what to do.

mod endpoint;
mod job;
mod like;

use axum::Json;
use runyard_domain::reason::hint::{About, hints};
use runyard_domain::{Endpoint, FailReason, JobId, Release, ReleaseState, Settings, WorkerId};
use serde_json::{Value, json};

use crate::Manage;
use crate::problem::Problem;

pub(crate) use endpoint::endpoint;
pub(crate) use job::job;

struct Cause {
    code: String,
    sentence: String,
    last_lines: Vec<String>,
}

impl Cause {
    fn plain(code: &str, sentence: String) -> Self {
        Self { code: code.to_owned(), sentence, last_lines: Vec::new() }
    }

    fn failure(reason: &FailReason, sentence: String) -> Self {
        Self { code: reason.code().to_owned(), sentence, last_lines: reason.last_lines().to_vec() }
    }
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

/// What the commands of hints are about.
#[derive(Default)]
struct Subject {
    job: Option<JobId>,
    worker: Option<WorkerId>,
    secret: Option<String>,
    back_to: Option<u32>,
    ran: bool,
}

impl Manage {
    /// The commands that fit a code.
    fn hints(&self, code: &str, endpoint: &Endpoint, subject: &Subject) -> Vec<String> {
        let release = self.newest(endpoint).ok().flatten();
        let launch = release.as_ref().and_then(|release| release.launch.as_ref());
        let image = launch.and_then(|launch| launch.image.as_ref()).map(|image| image.name.as_str());
        hints(
            code,
            &About {
                endpoint: &endpoint.name,
                settings: &endpoint.settings,
                job: subject.job.as_ref(),
                worker: subject.worker.as_ref(),
                image,
                secret: subject.secret.as_deref(),
                back_to: subject.back_to,
                ran: subject.ran,
            },
        )
    }

    fn newest(&self, endpoint: &Endpoint) -> Result<Option<Release>, Problem> {
        let releases = self.inner.engine.reader().releases(&endpoint.id)?;
        Ok(releases.into_iter().max_by_key(|release| release.number))
    }

    /// Why the newest release does not serve, where it failed.
    fn failed_release(&self, endpoint: &Endpoint) -> Result<Option<Cause>, Problem> {
        let newest = self.newest(endpoint)?;
        let Some(Release { number, state: ReleaseState::Failed { reason }, .. }) = &newest else {
            return Ok(None);
        };
        Ok(Some(Cause::failure(reason, format!("release {number} failed: {}", reason.sentence()))))
    }
}

/// An endpoint in whose place there is none any more.
fn removed(id: &runyard_domain::EndpointId, now: runyard_domain::Timestamp) -> Endpoint {
    Endpoint::new(id.clone(), id.to_string(), now, Settings::default())
}
