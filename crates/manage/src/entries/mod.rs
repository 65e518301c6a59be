//! The catalogue: folders with a `hub.json` that become an endpoint by one call. Deploying one goes the way of an
//! uploaded folder: its files become a bundle, its `runyard.toml` says how it runs, its variables are what its form asked
//! for.

mod read;
mod shipped;

use std::collections::BTreeMap;
use std::path::Path as FsPath;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use runyard_build::bundle::{self, Limits};
use runyard_build::listing::{Kind, Listing, Variable};
use runyard_domain::{Access, Gpus, Settings};
use runyard_project::FILE;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Manage;
use crate::auth::Auth;
use crate::deploy::Request;
use crate::page::Paging;
use crate::problem::Problem;
use crate::secrets::SecretEnv;
use crate::stream::{Body, lines};

use read::{Entry, Place};

/// What an entry is deployed with.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Deploy {
    name: Option<String>,
    preset: Option<String>,
    env: BTreeMap<String, String>,
    secret_env: SecretEnv,
    settings: Map<String, Value>,
    note: Option<String>,
    /// Whether an endpoint of this name gets it as its next release.
    replace: bool,
    tests: Option<bool>,
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, auth.0.endpoints().first())?;
    // The order is that of the page; a cursor names the place in it.
    let all = manage.entries().await?.into_iter().enumerate().collect();
    let (page, next) = paging.cut(all, |(at, _): &(usize, Entry)| *at)?;
    let views: Vec<Value> = page.iter().map(|(_, entry)| manage.entry_view(entry)).collect();
    Ok(Json(json!({"entries": views, "nextCursor": next})))
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    auth.0.may(Access::Read, auth.0.endpoints().first())?;
    let entry = manage.entry(&name).await?;
    let mut view = manage.entry_view(&entry);
    view["readme"] = json!(entry.readme());
    Ok(Json(view))
}

pub(crate) async fn deploy(
    State(manage): State<Manage>,
    auth: Auth,
    Path(name): Path<String>,
    body: Body<Deploy>,
) -> Result<Response, Problem> {
    auth.0.may(Access::Deploy, auth.0.endpoints().first())?;
    let asked = body.read()?;
    let entry = manage.entry(&name).await?;
    let endpoint = asked.name.clone().unwrap_or_else(|| entry.name.clone());
    let known = manage.inner.engine.endpoint(&endpoint).filter(|known| auth.0.sees(&known.id));
    if known.is_none() {
        auth.0.may(Access::Deploy, None)?;
    } else if !asked.replace {
        return Err(Problem::conflict(format!("there is an endpoint '{endpoint}' already"))
            .hint("take another name, or deploy with 'replace': it becomes its next release"));
    }
    let request = manage.entry_request(&entry, asked).await?;
    let (lines, response) = lines();
    manage.deploy(auth.0, &endpoint, request, lines).await?;
    Ok(response)
}

impl Manage {
    async fn entries(&self) -> Result<Vec<Entry>, Problem> {
        let folders = self.inner.catalogue.clone();
        let work = tokio::task::spawn_blocking(move || read::all(&folders));
        work.await.map_err(|error| Problem::internal(&error))
    }

    async fn entry(&self, name: &str) -> Result<Entry, Problem> {
        let found = self.entries().await?.into_iter().find(|entry| entry.name == name);
        found.ok_or_else(|| {
            let name: String = name.chars().take(80).collect();
            Problem::not_found(format!("the catalogue has no entry '{name}'"))
                .hint("runyard quick lists them")
        })
    }

    /// `CatalogEntry`.
    fn entry_view(&self, entry: &Entry) -> Value {
        let mut view = json!({"name": entry.name, "source": entry.source(), "problem": null});
        let empty = Listing { title: entry.name.clone(), ..Listing::default() };
        let listing = entry.listing.as_ref().unwrap_or_else(|problem| {
            view["problem"] = json!(problem);
            &empty
        });
        let gpus = self.entry_gpus(listing).unwrap_or_default();
        let unmet = gpus.unmet(self.inner.fleet.gpus());
        let remarks = listing.unknown.iter().map(|key| format!("'{key}' means nothing here"));
        let more = json!({
            "title": listing.title,
            "description": listing.description,
            "category": listing.category,
            "container": entry.has_dockerfile(),
            "gpus": gpus,
            "gpuIds": listing.gpu_ids,
            "diskGb": listing.disk_gb,
            "cudaVersions": listing.cuda_versions,
            "fits": unmet.is_none() && entry.listing.is_ok(),
            "whyNot": unmet,
            "env": listing.env.iter().map(variable).collect::<Vec<_>>(),
            "presets": listing.presets.iter().map(|one| json!({"name": one.name, "values": one.values})).collect::<Vec<_>>(),
            "remarks": remarks.collect::<Vec<_>>(),
        });
        if let (Value::Object(view), Value::Object(more)) = (&mut view, more) {
            view.extend(more);
        }
        view
    }

    /// The GPUs that an entry asks for, where it says so.
    fn entry_gpus(&self, listing: &Listing) -> Option<Gpus> {
        listing.gpus.map(|count| self.hub_gpus(count, listing.gpu_ids.as_deref()))
    }

    /// The deploy that an entry becomes.
    async fn entry_request(&self, entry: &Entry, asked: Deploy) -> Result<Request, Problem> {
        let listing = entry.listing.as_ref().map_err(|problem| Problem::invalid(problem.clone()))?;
        // What is given as a secret is not asked for again.
        let mut given = asked.env.clone();
        let secure: Vec<&String> =
            asked.secret_env.0.iter().filter(|(_, v)| v.is_some()).map(|(name, _)| name).collect();
        let form = Listing {
            env: listing.env.iter().filter(|one| !secure.contains(&&one.name)).cloned().collect(),
            ..listing.clone()
        };
        given.retain(|name, _| !secure.contains(&name));
        let own = form.env(&given, asked.preset.as_deref()).map_err(Problem::invalid)?;
        let (mut release, bundle) = self.entry_release(entry).await?;
        let mut env = match release.remove("env") {
            Some(Value::Object(env)) => env,
            _ => Map::new(),
        };
        env.extend(own.into_iter().map(|(name, value)| (name, json!(value))));
        for name in secure {
            env.remove(name);
        }
        let mut settings = match release.remove("settings") {
            Some(Value::Object(settings)) => settings,
            _ => Map::new(),
        };
        if let Some(gpus) = self.entry_gpus(listing) {
            settings.insert("gpus".to_owned(), json!(gpus));
        }
        settings.extend(asked.settings);
        release.insert("env".to_owned(), Value::Object(env));
        release.insert("settings".to_owned(), Value::Object(settings));
        release.insert("create".to_owned(), true.into());
        let request: Request = serde_json::from_value(Value::Object(release)).map_err(|error| {
            Problem::invalid(format!("the entry's {FILE} asks for what makes no sense: {error}"))
        })?;
        let note = asked.note.unwrap_or_else(|| format!("from the catalogue: {}", entry.name));
        Ok(Request {
            bundle: Some(bundle),
            secret_env: asked.secret_env,
            note: Some(note),
            tests: asked.tests.unwrap_or(true),
            ..request
        })
    }

    /// What an entry's folder asks for by itself, and its bundle, as if it had been uploaded.
    async fn entry_release(&self, entry: &Entry) -> Result<(Map<String, Value>, String), Problem> {
        let (place, bundles) = (entry.place.clone(), self.inner.bundles.clone());
        let work = tokio::task::spawn_blocking(move || match place {
            Place::Folder(folder) => folder_release(&folder, &bundles),
            Place::Shipped(files) => {
                let dir = tempfile::tempdir().map_err(|error| Problem::internal(&error))?;
                shipped::write(files, dir.path()).map_err(|error| Problem::internal(&error))?;
                folder_release(dir.path(), &bundles)
            }
        });
        work.await.map_err(|error| Problem::internal(&error))?
    }
}

fn folder_release(folder: &FsPath, bundles: &FsPath) -> Result<(Map<String, Value>, String), Problem> {
    let has_dockerfile = folder.join("Dockerfile").is_file();
    let wanted = match std::fs::read_to_string(folder.join(FILE)) {
        Ok(text) => {
            runyard_project::read(&text, None).map_err(|error| Problem::invalid(error.to_string()))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            runyard_project::read("", None).map_err(|error| Problem::invalid(error.to_string()))?
        }
        Err(error) => return Err(Problem::invalid(format!("{FILE} cannot be read: {error}"))),
    };
    let wrong = |error: bundle::BundleError| Problem::invalid(error.to_string());
    let packed = match wanted.dockerfile(has_dockerfile) {
        Some(file) => runyard_build::pack_context(folder, file).map_err(wrong)?,
        None => bundle::pack(folder).map_err(wrong)?,
    };
    bundle::unpack(&packed.bytes[..], &bundles.join(&packed.sha256), &Limits::default()).map_err(wrong)?;
    let mut release = wanted.release(has_dockerfile, None);
    // Only what the file says: the usual settings say themselves.
    let usual = serde_json::to_value(Settings::default()).unwrap_or_default();
    if let Some(Value::Object(settings)) = release.get_mut("settings") {
        settings.retain(|name, value| usual.get(name) != Some(value));
    }
    Ok((release, packed.sha256))
}

/// `CatalogVariable`.
fn variable(variable: &Variable) -> Value {
    let Variable { name, field, fixed } = variable;
    let Some(field) = field else { return json!({"name": name, "value": fixed, "input": null}) };
    let (kind, min, max, on, off) = match &field.kind {
        Kind::Text => ("string", None, None, None, None),
        Kind::Model => ("huggingface", None, None, None, None),
        Kind::Number { min, max } => ("number", *min, *max, None, None),
        Kind::Switch { on, off } => ("boolean", None, None, Some(on), Some(off)),
    };
    let options = field.options.iter().map(|one| json!({"label": one.label, "value": one.value}));
    json!({"name": name, "value": null, "input": {
        "label": field.label, "type": kind, "help": field.help, "default": field.default,
        "required": field.required, "advanced": field.advanced, "min": min, "max": max,
        "trueValue": on, "falseValue": off, "options": options.collect::<Vec<_>>(),
    }})
}
