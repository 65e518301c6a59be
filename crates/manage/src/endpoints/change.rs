//! Changes of an endpoint, said before they are made: which fields, whether they make a release, and which workers
//! restart for it. Settings alone hold at once; what a release is made of makes one, tested and rolled out like any
//! other, and everything else that was asked for comes with it in the same write. A release that does not pass changes
//! nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use runyard_domain::endpoint::{Settings, is_valid_name};
use runyard_domain::worker::WorkerState;
use runyard_domain::{Access, Endpoint, Release, secret};
use runyard_project::places;
use runyard_vault::Caller;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{bad_name, changed};
use crate::auth::Auth;
use crate::deploy::{Other, check_env};
use crate::problem::Problem;
use crate::secrets::SecretEnv;
use crate::stream::Body;
use crate::version::{self, Versions, tagged};
use crate::{Manage, container};

/// Settings that a release keeps a copy of, as the API has them.
const OF_RELEASES: [&str; 3] = ["gpus", "container", "network_volume"];

/// What shall be another.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    name: Option<String>,
    #[serde(default)]
    settings: Map<String, Value>,
    /// Plain variables to set, and to take away (`null`).
    #[serde(default)]
    env: BTreeMap<String, Option<String>>,
    /// Secure ones.
    #[serde(default)]
    secret_env: SecretEnv,
    image: Option<String>,
    note: Option<String>,
}

/// The query.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// Only say what it would be.
    #[serde(default)]
    dry_run: bool,
    /// Only if this is still what would be done.
    plan: Option<String>,
}

/// Only variables, and always with a release.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Variables {
    #[serde(default)]
    env: BTreeMap<String, Option<String>>,
    #[serde(default)]
    secret_env: SecretEnv,
    note: Option<String>,
}

/// A value that becomes another.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Different {
    field: String,
    old: Value,
    new: Value,
    /// A release is made for it, whose workers take the place of those that run.
    makes_release: bool,
}

/// A change beside what there is.
struct Plan {
    endpoint: Arc<Endpoint>,
    serving: Option<Release>,
    settings: Settings,
    fields: Vec<Different>,
    /// The plain variables as they would be, where others were asked for.
    env: Option<BTreeMap<String, String>>,
    warnings: Vec<String>,
}

pub(crate) async fn change(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    Query(how): Query<How>,
    versions: Versions,
    body: Body<Change>,
) -> Result<Response, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Deploy, &ep)?;
    let body = body.read()?;
    versions.check(&version::of_endpoint(&endpoint))?;
    let plan = manage.plan_change(endpoint, &body).await?;
    if let Some(wanted) = how.plan.as_ref().filter(|wanted| **wanted != plan.id()) {
        return Err(Problem::stale_plan(&plan.endpoint.name, wanted));
    }
    if how.dry_run {
        return Ok(Json(manage.change_view(&plan)).into_response());
    }
    if plan.makes_release() {
        return manage.release_change(auth.0, plan, body).await;
    }
    let changed = manage.settle_change(&plan, body, &versions).await?;
    Ok(tagged(&version::of_endpoint(&changed), manage.endpoint_view(&changed)?))
}

pub(crate) async fn variables(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    body: Body<Variables>,
) -> Result<Response, Problem> {
    let endpoint = manage.endpoint(&auth.0, Access::Deploy, &ep)?;
    let Variables { env, secret_env, note } = body.read()?;
    manage.serving_release(&endpoint).await?;
    let body = Change { env, secret_env, note, ..Change::default() };
    let plan = manage.plan_change(endpoint, &body).await?;
    if !plan.makes_release() {
        return Err(Problem::invalid(format!("the variables of '{}' are so already", plan.endpoint.name)));
    }
    manage.release_change(auth.0, plan, body).await
}

impl Manage {
    /// Checks a change and says what it would do; nothing is done.
    async fn plan_change(&self, endpoint: Arc<Endpoint>, body: &Change) -> Result<Plan, Problem> {
        let asks_release = !body.env.is_empty() || !body.secret_env.0.is_empty() || body.image.is_some();
        let serving = self.what_serves(&endpoint)?;
        if asks_release {
            self.serving_release(&endpoint).await?;
        }
        let before = match &serving {
            Some(release) => release.held(&endpoint.settings),
            None => endpoint.settings.clone(),
        };
        let settings = changed(&before, &body.settings)?;
        if body.settings.contains_key("gpus") {
            self.check_gpus(&settings.gpus)?;
        }
        if settings.container.registry != before.container.registry {
            self.check_login(None, &settings)?;
        }
        let mut fields = self.renamed(&endpoint, body)?.into_iter().collect::<Vec<_>>();
        fields.extend(of_settings(&before, &settings, &body.settings, serving.as_ref()));
        let mut env = None;
        if let Some(release) = serving.as_ref().filter(|_| asks_release) {
            let next = self.next_env(release, body)?;
            fields.extend(of_variables(release, &next, body));
            fields.extend(self.other_image(release, body, &settings).await?);
            env = Some(next).filter(|next| *next != release.env);
        }
        if let Some(release) = serving.as_ref().filter(|_| fields.iter().any(|field| field.makes_release)) {
            self.check_ready(release).await?;
        }
        let warnings = warnings(&endpoint, &fields);
        Ok(Plan { endpoint, serving, settings, fields, env, warnings })
    }

    fn renamed(&self, endpoint: &Endpoint, body: &Change) -> Result<Option<Different>, Problem> {
        let Some(name) = body.name.as_ref().filter(|name| **name != endpoint.name) else { return Ok(None) };
        if !is_valid_name(name) {
            return Err(bad_name(name));
        }
        if self.inner.engine.endpoint(name).is_some() {
            return Err(Problem::conflict(format!("there is an endpoint '{name}' already")));
        }
        let field = "name".to_owned();
        Ok(Some(Different { field, old: json!(endpoint.name), new: json!(name), makes_release: false }))
    }

    /// The plain variables with those that were asked for.
    fn next_env(&self, release: &Release, body: &Change) -> Result<BTreeMap<String, String>, Problem> {
        let plain = |set: bool| body.env.iter().filter(move |(_, value)| value.is_some() == set);
        let given: BTreeMap<String, String> =
            plain(true).filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect();
        check_env(&given)?;
        body.secret_env.check(given.keys())?;
        let mut env = release.env.clone();
        // A variable is plain or secure: what it becomes it was not.
        let gone = plain(false).map(|(name, _)| name).chain(body.secret_env.0.keys());
        gone.for_each(|name| drop(env.remove(name)));
        env.extend(given);
        self.check_references(&env)?;
        Ok(env)
    }

    async fn other_image(
        &self,
        release: &Release,
        body: &Change,
        settings: &Settings,
    ) -> Result<Option<Different>, Problem> {
        let Some(image) = &body.image else { return Ok(None) };
        let request = container::Request { image: Some(image.clone()), ..container::Request::default() };
        if self.local_image(&request).is_none() {
            request.check(false)?;
            self.check_login(Some(image), settings)?;
        }
        self.can_run(image).await?;
        let old = release.launch.as_ref().and_then(|launch| launch.image_name());
        let (old, new) = (json!(old), json!(image));
        // The same name may be another image by now.
        Ok(Some(Different { field: "image".to_owned(), old, new, makes_release: true }))
    }

    /// Workers that would be replaced, and how many of those that are left would stop because fewer are allowed.
    fn touched(&self, plan: &Plan) -> (Vec<String>, u32) {
        let workers = self.inner.fleet.workers();
        let mine = workers
            .iter()
            .filter(|worker| worker.endpoint == plan.endpoint.id && worker.state != WorkerState::Draining);
        let ids: Vec<String> = mine.map(|worker| worker.id.to_string()).collect();
        let surplus = (ids.len() as u32).saturating_sub(plan.settings.workers_max);
        let surplus = if plan.fields.iter().any(|field| field.field == "workers_max") { surplus } else { 0 };
        (if plan.makes_release() { ids } else { Vec::new() }, surplus)
    }

    fn change_view(&self, plan: &Plan) -> Value {
        let (restarts, stops) = self.touched(plan);
        json!({
            "plan": plan.id(),
            "name": plan.endpoint.name,
            "changes": plan.fields,
            "makesRelease": plan.makes_release(),
            "restarts": restarts,
            "stops": stops,
            "says": words(plan, restarts.len(), stops),
            "warnings": plan.warnings,
        })
    }

    /// Makes the release, and with it everything else.
    async fn release_change(&self, caller: Caller, plan: Plan, body: Change) -> Result<Response, Problem> {
        let Plan { endpoint, serving, settings, env, fields, .. } = plan;
        let Some(serving) = serving else { return Err(Problem::no_endpoint(endpoint.id.as_str())) };
        let Change { name, settings: mut changes, env: given, secret_env, note, image } = body;
        let secure_env = if given.is_empty() && secret_env.0.is_empty() {
            None
        } else {
            let kept = serving.secure_env.clone();
            Some(self.changed_secure(&endpoint.id, kept, given.keys(), &secret_env)?)
        };
        // As a whole: what the release was made with is what the endpoint has then.
        if let Ok(Value::Object(all)) = serde_json::to_value(&settings) {
            let asked =
                OF_RELEASES.iter().filter(|name| changes.contains_key(**name)).copied().collect::<Vec<_>>();
            changes
                .extend(asked.into_iter().filter_map(|name| Some((name.to_owned(), all.get(name)?.clone()))));
        }
        let note = note.unwrap_or_else(|| usual_note(serving.number, &fields));
        let secure_env = secure_env.filter(|secure| *secure != serving.secure_env);
        let name = name.filter(|name| *name != endpoint.name);
        let other = Other { settings, changes, name, env, secure_env, image, note };
        self.deploy_again(caller, &endpoint, serving, other).await
    }

    /// Makes a change that needs no release.
    async fn settle_change(
        &self,
        plan: &Plan,
        body: Change,
        versions: &Versions,
    ) -> Result<Endpoint, Problem> {
        let mut outcome = Ok(());
        let name = body.name.filter(|name| *name != plan.endpoint.name);
        let change = |next: &mut Endpoint| {
            let fits = versions.check(&version::of_endpoint(next));
            match fits.and_then(|()| changed(&next.settings, &body.settings)) {
                Ok(settings) => {
                    next.settings = settings;
                    next.name = name.unwrap_or_else(|| next.name.clone());
                }
                Err(problem) => outcome = Err(problem),
            }
        };
        let next = self.inner.engine.change_endpoint(&plan.endpoint.id, change).await?;
        outcome?;
        next.ok_or_else(|| Problem::no_endpoint(plan.endpoint.id.as_str()))
    }
}

impl Plan {
    fn makes_release(&self) -> bool {
        self.fields.iter().any(|field| field.makes_release)
    }

    /// Names what would be done and what it was compared with.
    fn id(&self) -> String {
        let there = json!([
            self.endpoint.id,
            self.endpoint.settings,
            self.endpoint.serving,
            self.endpoint.next_release
        ]);
        let digest = Sha256::digest(json!([self.fields, there]).to_string());
        let mut id = String::new();
        for byte in digest.iter().take(8) {
            let _ = write!(id, "{byte:02x}");
        }
        id
    }
}

/// What differs of the settings that were named.
fn of_settings(
    before: &Settings,
    after: &Settings,
    named: &Map<String, Value>,
    serving: Option<&Release>,
) -> Vec<Different> {
    let flat = |settings: &Settings| places::flat(&serde_json::to_value(settings).unwrap_or_default());
    let (before, after) = (flat(before), flat(after));
    let is_container =
        serving.is_some_and(|release| release.launch.as_ref().is_some_and(|launch| launch.image.is_some()));
    let asked = |name: &str| named.contains_key(name.split('.').next().unwrap_or(name));
    let differing = after.into_iter().filter(|(name, new)| asked(name) && before.get(name) != Some(new));
    differing
        .map(|(name, new)| {
            // Containers there may be one day get theirs then.
            let touches = !name.starts_with("container.") || is_container;
            let makes_release = serving.is_some() && touches && Settings::replaces_workers(&name);
            Different { old: before.get(&name).cloned().unwrap_or_default(), field: name, new, makes_release }
        })
        .collect()
}

/// What differs of the variables; values of secure ones are not shown, and one that is set counts as another.
fn of_variables(release: &Release, next: &BTreeMap<String, String>, body: &Change) -> Vec<Different> {
    let secure = &body.secret_env;
    let shown = |is_there: bool| if is_there { json!(secret::MASK) } else { Value::Null };
    let mut fields = Vec::new();
    let mut differ = |name: &str, old: Value, new: Value, always: bool| {
        if old != new || always {
            fields.push(Different { field: format!("env.{name}"), old, new, makes_release: true });
        }
    };
    let mut names: Vec<&String> = release
        .env
        .keys()
        .chain(next.keys())
        .chain(secure.0.keys())
        .chain(release.secure_env.keys())
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let was = match release.env.get(name) {
            Some(value) => json!(value),
            None => shown(release.secure_env.contains_key(name)),
        };
        match (secure.0.get(name), next.get(name)) {
            (Some(Some(_)), _) => differ(name, was, shown(true), true),
            (_, Some(value)) => differ(name, was, json!(value), false),
            (Some(None), None) => differ(name, was, Value::Null, false),
            // A secure one stays, unless it was taken away like a plain one.
            (None, None) => {
                let kept = release.secure_env.contains_key(name) && !body.env.contains_key(name);
                differ(name, was, shown(kept), false);
            }
        }
    }
    fields
}

/// What to know before it is done.
fn warnings(endpoint: &Endpoint, fields: &[Different]) -> Vec<String> {
    let managed = endpoint.managed.as_ref().filter(|_| !fields.is_empty());
    managed
        .map(|file| format!("it is described by {}, which says otherwise from then on", file.by))
        .into_iter()
        .collect()
}

/// What a change comes to, in a sentence.
fn words(plan: &Plan, restarts: usize, stops: u32) -> String {
    if plan.fields.is_empty() {
        return "nothing changes".to_owned();
    }
    let counted = |n: usize| if n == 1 { "1 worker".to_owned() } else { format!("{n} workers") };
    let verb = |n: usize, word: &str| if n == 1 { format!("{word}s") } else { word.to_owned() };
    let mut said = if !plan.makes_release() {
        "it holds at once; no worker restarts".to_owned()
    } else if restarts == 0 {
        "it makes a release, which is tested first; no worker runs that would restart".to_owned()
    } else {
        let which = format!("{} {}", counted(restarts), verb(restarts, "restart"));
        let how = match restarts {
            1 => " when its jobs are done",
            _ => ", one after the other, when their jobs are done",
        };
        format!("it makes a release, which is tested first; {which}{how}")
    };
    if stops > 0 {
        let stops = stops as usize;
        let _ = write!(said, "; {} {}, because fewer are allowed", counted(stops), verb(stops, "stop"));
    }
    said
}

/// `release 3 with other gpus, env.MODE`.
fn usual_note(number: u32, fields: &[Different]) -> String {
    let names: Vec<&str> =
        fields.iter().filter(|field| field.makes_release).map(|field| field.field.as_str()).collect();
    if names.iter().all(|name| name.starts_with("env.")) {
        return format!("release {number} with other variables");
    }
    let names: String = names.join(", ").chars().take(120).collect();
    format!("release {number} with other {names}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differing(before: &Settings, named: &Value, serving: Option<&Release>) -> Vec<(String, bool)> {
        let Value::Object(named) = named else { panic!("an object") };
        let after = changed(before, named).unwrap_or_else(|problem| panic!("{}", problem.words()));
        let fields = of_settings(before, &after, named, serving);
        fields.into_iter().map(|field| (field.field, field.makes_release)).collect()
    }

    fn release() -> Release {
        let release = json!({
            "endpoint": "e", "number": 3, "created_at": 1, "created_by": "me", "state": {"state": "ready"},
            "handler": "h.py", "bundle": "", "environment": "", "python": "", "env": {"A": "1", "B": "2"},
            "secure_env": {"S": "x"}, "env_read": [], "gpus": 1, "note": null, "launch": null,
        });
        serde_json::from_value(release).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn what_a_release_is_made_of_makes_one() {
        let (usual, release) = (Settings::default(), release());
        let named =
            json!({"gpus": "24GB", "workers_max": 5, "ttl_ms": 86_400_000, "container": {"cpu_millis": 500}});
        let expected = [("container.cpu_millis", false), ("gpus", true), ("workers_max", false)]
            .map(|(n, r)| (n.to_owned(), r));
        assert_eq!(differing(&usual, &named, Some(&release)), expected, "a process has no container");
        assert!(differing(&usual, &named, None).iter().all(|(_, makes)| !makes), "nothing serves");
    }

    #[test]
    fn variables_differ_by_name_and_secure_ones_show_no_value() {
        let next = BTreeMap::from([("A".to_owned(), "9".to_owned()), ("N".to_owned(), "n".to_owned())]);
        let secret_env =
            SecretEnv(BTreeMap::from([("T".to_owned(), Some("secret".to_owned())), ("S".to_owned(), None)]));
        let fields = of_variables(&release(), &next, &Change { secret_env, ..Change::default() });
        let found: Vec<_> = fields.iter().map(|f| (f.field.as_str(), f.old.clone(), f.new.clone())).collect();
        let mask = json!(secret::MASK);
        assert_eq!(
            found,
            [
                ("env.A", json!("1"), json!("9")),
                ("env.B", json!("2"), Value::Null),
                ("env.N", Value::Null, json!("n")),
                ("env.S", mask.clone(), Value::Null),
                ("env.T", Value::Null, mask),
            ]
        );
        assert_eq!(usual_note(3, &fields), "release 3 with other variables");
        let plain = |env| Change { env, ..Change::default() };
        let taken =
            of_variables(&release(), &release().env, &plain(BTreeMap::from([("S".to_owned(), None)])));
        let taken: Vec<_> = taken.iter().map(|f| (f.field.as_str(), f.old.clone(), f.new.clone())).collect();
        assert_eq!(
            taken,
            [("env.S", json!(secret::MASK), Value::Null)],
            "a secure one goes like a plain one"
        );
        assert_eq!(of_variables(&release(), &release().env, &plain(BTreeMap::new())), []);
    }
}
