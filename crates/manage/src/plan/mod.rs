//! Plan and apply: what a file asks of an endpoint, compared with what there is, and done. The plan is named by what it
//! was made of; where that is another by now, it is not done.

mod changes;
pub(crate) mod cost;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use runyard_domain::endpoint::{Managed, is_valid_name};
use runyard_domain::{Access, Endpoint, Release, Settings};
use runyard_vault::Caller;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::auth::Auth;
use crate::deploy::Request;
use crate::problem::Problem;
use crate::stream::{Body, lines};
use crate::{Manage, endpoints};

pub(crate) use changes::container as container_facts;

use changes::Change;

/// The longest name of a file that is kept, in characters.
const LONGEST_PLACE: usize = 400;

/// Where the schema lies.
pub(crate) const SCHEMA: &str = "/schema/runyard.json";

/// What a file asks for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Desired {
    /// Where the file lies, for people.
    managed_by: String,
    /// What it shall be. Settings that are not named are the usual ones; `env` is all there is.
    release: Request,
    /// The plan to do; only for apply.
    plan: Option<String>,
    /// Apply makes a release also where nothing asks for one.
    #[serde(default)]
    always: bool,
    /// What the file says and nothing obeys yet, by the file's keys: shown, so that nobody relies on it.
    #[serde(default)]
    not_applied: BTreeMap<String, Value>,
}

/// The most keys of a file that are not obeyed.
const MOST_NOT_APPLIED: usize = 50;

/// A file's wish beside what there is.
struct Plan {
    name: String,
    live: Option<Endpoint>,
    changes: Vec<Change>,
    warnings: Vec<String>,
    not_applied: BTreeMap<String, Value>,
    cost: Value,
    /// Names what it was made of.
    id: String,
}

pub(crate) async fn plan(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    body: Body<Desired>,
) -> Result<Json<Value>, Problem> {
    let desired = manage.read_to(&auth.0, Access::Read, &ep, body)?;
    let plan = manage.plan(&auth.0, Access::Read, &ep, &desired)?;
    Ok(Json(plan.view()))
}

pub(crate) async fn apply(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    body: Body<Desired>,
) -> Result<Response, Problem> {
    let desired = manage.read_to(&auth.0, Access::Deploy, &ep, body)?;
    let plan = manage.plan(&auth.0, Access::Deploy, &ep, &desired)?;
    if let Some(wanted) = desired.plan.as_ref().filter(|wanted| **wanted != plan.id) {
        return Err(Problem::stale_plan(&plan.name, wanted));
    }
    manage.apply(auth.0, plan, desired).await
}

/// The JSON Schema of `runyard.toml`; editors fetch it without a key.
pub(crate) async fn schema() -> Json<Value> {
    Json(runyard_project::schema())
}

impl Manage {
    fn plan(&self, caller: &Caller, access: Access, name: &str, desired: &Desired) -> Result<Plan, Problem> {
        let known = self.inner.engine.endpoint(name).filter(|endpoint| caller.sees(&endpoint.id));
        let live = if known.is_some() {
            Some((*self.endpoint(caller, access, name)?).clone())
        } else {
            caller.may(access, None)?;
            None
        };
        if live.is_none() && !is_valid_name(name) {
            return Err(endpoints::bad_name(name));
        }
        self.check_request(&desired.release)?;
        if desired.not_applied.len() > MOST_NOT_APPLIED {
            let detail = format!("'notApplied' has more than {MOST_NOT_APPLIED} keys");
            return Err(Problem::invalid(detail));
        }
        let settings = endpoints::changed(&Settings::default(), &desired.release.settings)?;
        let release = match live.as_ref().and_then(|endpoint| Some((endpoint, endpoint.serving?))) {
            Some((endpoint, number)) => {
                let releases = self.inner.engine.reader().releases(&endpoint.id)?;
                releases.into_iter().find(|release| release.number == number)
            }
            None => None,
        };
        let changes = changes::all(live.as_ref(), release.as_ref(), &settings, desired);
        let warnings = self.warnings(live.as_ref(), &settings, desired);
        let id = fingerprint(name, live.as_ref(), release.as_ref(), &settings, desired);
        let before = live.as_ref().map(|endpoint| &endpoint.settings);
        let cost = cost::view(&self.inner.rest.options, self.inner.fleet.gpus(), before, &settings);
        let not_applied = desired.not_applied.clone();
        Ok(Plan { name: name.to_owned(), live, changes, warnings, not_applied, cost, id })
    }

    fn warnings(&self, live: Option<&Endpoint>, settings: &Settings, desired: &Desired) -> Vec<String> {
        let mut warnings = Vec::new();
        let managed = live.and_then(|endpoint| endpoint.managed.as_deref());
        if let Some(other) = managed.filter(|managed| managed.by != desired.managed_by) {
            warnings.push(format!("it was applied from {} before", other.by));
        }
        if live.is_some() && managed.is_none() {
            warnings.push("it was made by hand; from now on this file says what it is".to_owned());
        }
        for (variable, secret) in self.missing_secrets(&desired.release.env).unwrap_or_default() {
            warnings.push(format!("the variable {variable} needs the secret '{secret}', which is not there"));
        }
        let machine = self.inner.fleet.gpus();
        let fit: usize = settings.gpus.groups(machine).iter().map(Vec::len).sum();
        let kept = settings.workers_min.saturating_mul(settings.gpus.count());
        if let Some(name) = settings.gpus.unknown(machine) {
            warnings.push(format!("there is no GPU type '{name}'"));
        } else if let Some(why) = settings.gpus.unmet(machine) {
            warnings.push(why);
        } else if kept as usize > fit {
            warnings.push(format!(
                "the workers that are always kept need {kept} GPUs, and {fit} of this machine's will do"
            ));
        }
        warnings
    }

    async fn apply(&self, caller: Caller, plan: Plan, mut desired: Desired) -> Result<Response, Problem> {
        let settings = endpoints::changed(&Settings::default(), &desired.release.settings)?;
        let managed = Managed {
            by: desired.managed_by.chars().take(LONGEST_PLACE).collect(),
            at: self.inner.engine.now(),
            release: plan.live.as_ref().and_then(|endpoint| endpoint.serving),
            settings: settings.clone(),
            container: changes::container(desired.release.container.as_ref()),
        };
        if plan.makes_release() || desired.always {
            desired.release.create = true;
            desired.release.managed = Some(managed);
            let (lines, response) = lines();
            self.deploy(caller, &plan.name, desired.release, lines).await?;
            return Ok(response);
        }
        let Some(endpoint) = &plan.live else { return Err(Problem::no_endpoint(&plan.name)) };
        let change = |endpoint: &mut Endpoint| {
            endpoint.settings = settings;
            endpoint.managed = Some(Box::new(managed));
        };
        self.inner.engine.change_endpoint(&endpoint.id, change).await?;
        self.inner.fleet.nudge(&endpoint.id);
        let (lines, response) = lines();
        let message = match plan.changes.len() {
            0 => "nothing to change".to_owned(),
            1 => "1 setting changed".to_owned(),
            count => format!("{count} settings changed"),
        };
        let _ = lines.send(json!({"step": "settings", "state": "done", "message": message, "ms": null}));
        let url = format!("{}/v2/{}", self.inner.info.url, endpoint.name);
        let _ = lines.send(json!({
            "done": true, "ok": true, "release": endpoint.serving, "url": url, "serving": endpoint.serving,
            "reason": null,
        }));
        Ok(response)
    }
}

impl Plan {
    fn makes_release(&self) -> bool {
        self.live.is_none() || self.changes.iter().any(|change| change.makes_release)
    }

    fn view(&self) -> Value {
        let action = match (&self.live, self.changes.is_empty()) {
            (None, _) => "create",
            (Some(_), true) => "none",
            (Some(_), false) => "update",
        };
        let why = "this server has no budgets yet";
        let not_applied = self.not_applied.iter();
        let not_applied: Vec<Value> =
            not_applied.map(|(path, value)| json!({"path": path, "value": value, "why": why})).collect();
        json!({
            "plan": self.id,
            "name": self.name,
            "endpoint": self.live.as_ref().map(|endpoint| endpoint.id.as_str()),
            "action": action,
            "makesRelease": self.makes_release(),
            "replacesWorkers": self.live.is_some() && self.makes_release(),
            "changes": self.changes,
            "warnings": self.warnings,
            "notApplied": not_applied,
            "costPerHour": self.cost,
        })
    }
}

/// Names the wish and what it was compared with.
fn fingerprint(
    name: &str,
    live: Option<&Endpoint>,
    release: Option<&Release>,
    settings: &Settings,
    desired: &Desired,
) -> String {
    let wish = &desired.release;
    let there = live.map(|endpoint| {
        json!([
            endpoint.id.as_str(),
            endpoint.settings,
            endpoint.serving,
            endpoint.next_release,
            endpoint.managed
        ])
    });
    let cases: Vec<Value> = wish.cases.iter().map(crate::deploy::Case::view).collect();
    let all = json!([
        name,
        settings,
        wish.env,
        wish.bundle,
        wish.handler,
        wish.python,
        changes::container(wish.container.as_ref()),
        cases,
        there,
        release.map(|release| release.number),
    ]);
    let digest = Sha256::digest(all.to_string());
    let mut id = String::new();
    for byte in digest.iter().take(8) {
        let _ = write!(id, "{byte:02x}");
    }
    id
}
