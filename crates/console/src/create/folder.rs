//! A folder that came from a browser, packed and deployed as `runyard deploy` does: a `runyard.toml` in it holds where
//! the form says nothing else, a Dockerfile is built unless a handler is named.

use std::path::Path;

use bytes::Bytes;
use http::Method;
use runyard_build::upload::Folder;
use runyard_build::{bundle, source};
use runyard_project::FILE;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Asked, name_from, newest, refuse_known, release, usual, wrong};
use crate::call::{Trouble, encoded};
use crate::forms::Form;
use crate::session::Visit;
use crate::views::Release;

/// What is uploaded, and what is asked for besides.
struct Packed {
    bytes: Bytes,
    sha256: String,
    release: Map<String, Value>,
    name: Option<String>,
}

/// Uploads and deploys it; answers the page after it and what is told there.
pub(super) async fn deploy(visit: &Visit, form: &Form, folder: Folder) -> Result<(String, String), Trouble> {
    // A name that is taken, or settings that cannot be, are said before anything is packed.
    let early = Asked::read(form, Some(String::new()))?;
    if !early.name.is_empty() {
        refuse_known(visit, &early.name).await?;
    }
    let handler = form.some("handler").map(str::to_owned);
    let named = folder.name.clone();
    let work = tokio::task::spawn_blocking(move || pack(&folder, handler.as_deref()));
    let packed = work.await.map_err(|error| wrong(error.to_string()))?.map_err(wrong)?;
    let asked = Asked::read(form, packed.name.or_else(|| named.as_deref().and_then(name_from)))?;
    let path = format!("/api/v1/bundles/{}", packed.sha256);
    visit.upload(&path, "application/gzip", packed.bytes).await?;
    release(visit, asked, packed.release).await
}

/// Packs a folder and reads what it asks for. Blocks.
fn pack(folder: &Folder, handler: Option<&str>) -> Result<Packed, String> {
    let root = folder.path.as_path();
    let (mut asked, name, dockerfile) = of_file(root)?;
    let only = only_handler(root);
    let handler = handler.map(str::to_owned).or(only);
    let dockerfile = dockerfile.filter(|_| handler.is_none());
    let bundle = match &dockerfile {
        Some(file) => runyard_build::pack_context(root, file),
        None => bundle::pack(root),
    };
    let bundle = bundle.map_err(|error| error.to_string())?;
    if let Some(file) = &handler {
        source::named_handler(root, Path::new(file)).map_err(|error| error.to_string())?;
        asked.remove("container");
        asked.insert("handler".to_owned(), json!(file));
    } else if dockerfile.is_none() && !asked.contains_key("handler") && !asked.contains_key("container") {
        check_handler(root)?;
    } else if let Some(file) = dockerfile {
        asked.entry("container").or_insert_with(|| json!({"dockerfile": file}));
    }
    asked.insert("bundle".to_owned(), json!(bundle.sha256));
    Ok(Packed { bytes: bundle.bytes.into(), sha256: bundle.sha256, release: asked, name })
}

/// The release, its name, and the Dockerfile that is built.
type OfFile = (Map<String, Value>, Option<String>, Option<String>);

/// What the folder's file says, where there is one.
fn of_file(root: &Path) -> Result<OfFile, String> {
    let has_dockerfile = root.join("Dockerfile").is_file();
    let path = root.join(FILE);
    let text = match path.symlink_metadata() {
        Ok(meta) if meta.len() > runyard_project::LARGEST as u64 => {
            return Err(format!("{FILE} is too large"));
        }
        Ok(_) => std::fs::read_to_string(&path).map_err(|error| format!("{FILE} cannot be read: {error}"))?,
        Err(_) => return Ok((Map::new(), None, has_dockerfile.then(|| "Dockerfile".to_owned()))),
    };
    let wanted = runyard_project::read(&text, None).map_err(|error| error.to_string())?;
    let mut release = wanted.release(has_dockerfile, None);
    let usual = usual();
    if let Some(Value::Object(settings)) = release.get_mut("settings") {
        settings.retain(|name, value| usual.get(name) != Some(value));
    }
    let dockerfile = wanted.dockerfile(has_dockerfile).map(str::to_owned);
    Ok((release, wanted.name, dockerfile))
}

/// The handler of a folder that has nothing but it.
fn only_handler(root: &Path) -> Option<String> {
    let mut files = std::fs::read_dir(root).ok()?.flatten();
    let (one, none) = (files.next()?, files.next());
    let path = one.path();
    let is_python = path.extension().is_some_and(|extension| extension == "py");
    (none.is_none() && is_python).then(|| one.file_name().into_string().ok())?
}

/// Whoever calls `start` in a way that reading cannot see still gets a try, as with the command.
fn check_handler(root: &Path) -> Result<(), String> {
    match source::find_handler(root) {
        Ok(_) => Ok(()),
        Err(_) if root.join("handler.py").is_file() => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Deserialize)]
struct Releases {
    releases: Vec<Release>,
}

/// The exposed variables of the release that serves.
async fn serving_env(visit: &Visit, ep: &str) -> Result<Map<String, Value>, Trouble> {
    let path = format!("/api/v1/endpoints/{}/releases?limit=1000", encoded(ep));
    let Releases { releases } = visit.get(&path).await?;
    let serving = releases.into_iter().find(|release| release.serving);
    let Some(Release { env, secure_env, .. }) = serving else { return Ok(Map::new()) };
    let plain = env.into_iter().filter(|(name, _)| !secure_env.contains(name));
    Ok(plain.map(|(name, value)| (name, value.into())).collect())
}

/// Uploads the folder as the next release of an endpoint that is there.
pub(crate) async fn next_release(visit: &Visit, ep: &str, folder: Folder) -> Result<String, Trouble> {
    let work = tokio::task::spawn_blocking(move || pack(&folder, None));
    let mut packed = work.await.map_err(|error| wrong(error.to_string()))?.map_err(wrong)?;
    visit.upload(&format!("/api/v1/bundles/{}", packed.sha256), "application/gzip", packed.bytes).await?;
    // Settings and variables stay as people have them.
    packed.release.remove("settings");
    packed.release.insert("env".to_owned(), Value::Object(serving_env(visit, ep).await?));
    let path = format!("/api/v1/endpoints/{}/releases", encoded(ep));
    visit.begin(Method::POST, &path, &Value::Object(packed.release), None).await?;
    newest(visit, ep).await
}
