//! What the pages that make endpoints send: a folder, an image, a repository, an entry of the catalogue. Each becomes the
//! calls that `runyard deploy`, `runyard git connect` and `runyard quick` make; the page after it is that of the release.

pub(crate) mod folder;
pub(crate) mod git;

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::{Path, Request};
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};
use runyard_build::upload::Folder;
use runyard_domain::{PythonWish, Settings};
use runyard_project::{Built, Live};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::call::{Trouble, encoded};
use crate::forms::{After, Form, read};
use crate::frame::Flash;
use crate::pages::{self, Page as _, catalogue, new, settings};
use crate::place::{Query, Tab};
use crate::session::Visit;
use crate::variables::{self, Row};
use crate::{gpus, upload};

/// The largest form without files, in bytes.
const MOST: usize = 1 << 20;

/// What is said where files were expected.
const NO_FILE: &str = "no file came: choose a folder, an archive (.zip, .tar.gz) or a handler (.py)";

/// Where an endpoint comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Folder,
    Image,
    Git,
}

impl From {
    pub(crate) const ALL: [Self; 3] = [Self::Folder, Self::Image, Self::Git];

    pub(crate) fn of(word: &str) -> Self {
        Self::ALL.into_iter().find(|from| from.word() == word).unwrap_or(Self::Folder)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Image => "image",
            Self::Git => "git",
        }
    }
}

/// What every way asks for: a name, settings, variables.
pub(crate) struct Asked {
    pub(crate) name: String,
    /// Those that are others than the usual ones, or than what the code says.
    pub(crate) settings: Map<String, Value>,
    pub(crate) rows: Vec<Row>,
}

/// The usual settings as the API has them.
pub(crate) fn usual() -> Map<String, Value> {
    match serde_json::to_value(Settings::default()) {
        Ok(Value::Object(settings)) => settings,
        _ => Map::new(),
    }
}

pub(crate) fn wrong(detail: impl Into<String>) -> Trouble {
    Trouble::new(StatusCode::BAD_REQUEST, "Not made", detail)
}

impl Asked {
    pub(crate) fn read(form: &Form, name: Option<String>) -> Result<Self, Trouble> {
        let name = form.some("name").map(str::to_owned).or(name);
        let name = name.ok_or_else(|| wrong("the endpoint needs a name"))?;
        let mut settings = settings::changes(form, &usual()).map_err(wrong)?;
        if let Some(login) = form.some("registry") {
            settings.insert("container".to_owned(), json!({"registry": login}));
        }
        Ok(Self { name, settings, rows: variables::rows(form) })
    }

    /// The release that is asked for, with this over it.
    fn over(self, mut release: Map<String, Value>) -> Result<Value, Trouble> {
        let (plain, secure) = variables::split(&self.rows).map_err(wrong)?;
        merge(&mut release, "settings", self.settings);
        merge(&mut release, "env", plain);
        if !secure.is_empty() {
            if let Some(env) = release.get_mut("env").and_then(Value::as_object_mut) {
                env.retain(|name, _| !secure.contains_key(name));
            }
            release.insert("secretEnv".to_owned(), Value::Object(secure));
        }
        release.insert("create".to_owned(), true.into());
        Ok(Value::Object(release))
    }
}

fn merge(release: &mut Map<String, Value>, key: &str, over: Map<String, Value>) {
    match release.get_mut(key) {
        Some(Value::Object(there)) => there.extend(over),
        _ => drop(release.insert(key.to_owned(), Value::Object(over))),
    }
}

/// `POST /endpoints/new`.
pub(crate) async fn submit(visit: Visit, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let read = if upload::is_multipart(&parts.headers) {
        upload::read(&visit, &parts.headers, body).await
    } else {
        match read(body, MOST).await {
            Ok(form) if visit.owns(&form) => Ok((form, None)),
            Ok(_) => Err(Trouble::new(
                StatusCode::FORBIDDEN,
                "Not sent",
                "this form is not one of your session's pages; open the page again and send it from there",
            )),
            Err(_) => {
                Err(Trouble::new(StatusCode::PAYLOAD_TOO_LARGE, "Too large", "the form is larger than 1 MiB"))
            }
        }
    };
    let (form, folder) = match read {
        Ok(read) => read,
        Err(trouble) => return pages::refused(&visit, &path, &trouble),
    };
    if matches!(form.get("do"), Some("rows" | "preview")) {
        return again(&visit, &form, None).await;
    }
    match make(&visit, &form, folder).await {
        Ok((to, told)) => Flash { ok: true, text: told }.redirect(&visit, &to),
        Err(trouble) => again(&visit, &form, Some(trouble)).await,
    }
}

/// `POST /ui/deploy/{ep}`: a folder becomes the next release of an endpoint that is there.
pub(crate) async fn next(visit: Visit, Path(ep): Path<String>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let back = Tab::Releases.href(&encoded(&ep));
    let made = async {
        let (_, folder) = upload::read(&visit, &parts.headers, body).await?;
        folder::next_release(&visit, &ep, folder.ok_or_else(|| wrong(NO_FILE))?).await
    };
    match made.await {
        Ok(to) => Flash { ok: true, text: "The release is on its way.".to_owned() }.redirect(&visit, &to),
        Err(trouble) => Flash { ok: false, text: trouble.words() }.redirect(&visit, &back),
    }
}

/// The page with what was typed.
async fn again(visit: &Visit, form: &Form, trouble: Option<Trouble>) -> Response {
    let status = trouble.as_ref().map_or(StatusCode::OK, |_| StatusCode::BAD_REQUEST);
    match new::refused(visit, form, trouble.map(|trouble| trouble.words())).await {
        Ok(page) => pages::html(status, page.whole()),
        Err(trouble) => pages::refused(visit, "/endpoints/new", &trouble),
    }
}

/// Makes the endpoint; answers the page after it and what is told there.
async fn make(visit: &Visit, form: &Form, folder: Option<Folder>) -> Result<(String, String), Trouble> {
    match From::of(form.get("from").unwrap_or_default()) {
        From::Folder => {
            let folder = folder.ok_or_else(|| wrong(NO_FILE))?;
            folder::deploy(visit, form, folder).await
        }
        From::Image => {
            let asked = Asked::read(form, form.some("image").and_then(image_name))?;
            let image = form.some("image").ok_or_else(|| wrong("name the image, as ghcr.io/me/worker:v1"))?;
            let container = json!({"image": image});
            release(visit, asked, [("container".to_owned(), container)].into_iter().collect()).await
        }
        From::Git => git::make(visit, form).await,
    }
}

/// Deploys a release of an endpoint that is made with it.
pub(crate) async fn release(
    visit: &Visit,
    asked: Asked,
    base: Map<String, Value>,
) -> Result<(String, String), Trouble> {
    let name = asked.name.clone();
    refuse_known(visit, &name).await?;
    let body = asked.over(base)?;
    let path = format!("/api/v1/endpoints/{}/releases", encoded(&name));
    visit.begin(Method::POST, &path, &body, None).await?;
    Ok((newest(visit, &name).await?, format!("{name} is made; its first release is on its way.")))
}

/// Who makes an endpoint does not mean to change another one.
pub(crate) async fn refuse_known(visit: &Visit, name: &str) -> Result<(), Trouble> {
    match visit.get::<Value>(&format!("/api/v1/endpoints/{}", encoded(name))).await {
        Ok(_) => Err(Trouble::new(
            StatusCode::CONFLICT,
            "Not made",
            format!(
                "there is an endpoint '{name}' already: take another name, or deploy to it from its Releases"
            ),
        )),
        Err(trouble) if trouble.status == StatusCode::NOT_FOUND => Ok(()),
        Err(trouble) => Err(trouble),
    }
}

#[derive(Deserialize)]
struct Numbers {
    releases: Vec<Number>,
}

#[derive(Deserialize)]
struct Number {
    number: u32,
}

/// The page of the newest release of an endpoint.
pub(crate) async fn newest(visit: &Visit, ep: &str) -> Result<String, Trouble> {
    let ep = encoded(ep);
    let Numbers { releases } = visit.get(&format!("/api/v1/endpoints/{ep}/releases?limit=1")).await?;
    let newest = releases.iter().map(|release| release.number).max();
    Ok(newest.map_or_else(|| Tab::Releases.href(&ep), |number| format!("/e/{ep}/releases/{number}")))
}

/// The last part of an image's name, without tag and digest.
fn image_name(image: &str) -> Option<String> {
    let bare = image.split('@').next().unwrap_or(image);
    let last = bare.rsplit('/').next().unwrap_or(bare);
    name_from(last.split(':').next().unwrap_or(last))
}

/// A text as an endpoint's name, where anything of it is left.
pub(crate) fn name_from(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let name = lower.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' });
    let name: String = name.collect::<String>().trim_matches(['-', '_', '.']).chars().take(64).collect();
    (!name.is_empty()).then_some(name)
}

/// A form of an entry of the catalogue.
pub(crate) async fn entry(visit: &Visit, entry: &str, form: &Form) -> Result<After, Trouble> {
    match quick(visit, entry, form).await {
        Ok(to) => Ok(After::Go(to, "It is made; its first release is on its way.".to_owned())),
        Err(trouble) => {
            let page =
                catalogue::entry(visit, entry, &Query::default(), Some((form, trouble.words()))).await?;
            Ok(After::Answer(pages::html(StatusCode::BAD_REQUEST, page.whole())))
        }
    }
}

async fn quick(visit: &Visit, entry: &str, form: &Form) -> Result<String, Trouble> {
    let asked = Asked::read(form, Some(entry.to_owned()))?;
    let (mut env, secure) = variables::split(&asked.rows).map_err(wrong)?;
    for (name, value) in form.pairs().filter_map(|(name, value)| Some((name.strip_prefix("var.")?, value))) {
        // What was left empty has its preset's value, or its default.
        if !value.is_empty() {
            env.insert(name.to_owned(), json!(value));
        }
    }
    let mut body = json!({"name": asked.name, "env": env, "settings": asked.settings});
    if !secure.is_empty() {
        body["secretEnv"] = Value::Object(secure);
    }
    if let Some(preset) = form.some("preset") {
        body["preset"] = json!(preset);
    }
    let path = format!("/api/v1/catalog/entries/{}/deploy", encoded(entry));
    visit.begin(Method::POST, &path, &body, None).await?;
    newest(visit, &asked.name).await
}

/// `POST /ui/preview`: what a form would make, as a part of its page.
pub(crate) async fn preview(visit: Visit, body: Body) -> Response {
    let Ok(form) = read(body, MOST).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the form is larger than 1 MiB").into_response();
    };
    if !visit.owns(&form) {
        return (StatusCode::FORBIDDEN, "this form is not one of this server's pages").into_response();
    }
    let from = From::of(form.get("from").unwrap_or_default());
    pages::html(StatusCode::OK, new::part(&Preview::load(&visit, from, &form).await))
}

/// What a form would make: sentences, the file, the command.
pub(crate) struct Preview {
    /// Each with whether it is good.
    pub(crate) told: Vec<(bool, String)>,
    pub(crate) toml: String,
    pub(crate) command: String,
}

impl Preview {
    pub(crate) async fn load(visit: &Visit, from: From, form: &Form) -> Self {
        let asked = match Asked::read(form, Some("NAME".to_owned())) {
            Ok(asked) => asked,
            Err(trouble) => {
                return Self {
                    told: vec![(false, trouble.detail)],
                    toml: String::new(),
                    command: String::new(),
                };
            }
        };
        let mut all = usual();
        all.extend(asked.settings.clone());
        let number = |key: &str| all.get(key).and_then(Value::as_u64).unwrap_or_default();
        let wish = all.get("gpus").cloned().unwrap_or_default();
        let told = gpus::told(visit, &wish, number("workers_min"), number("workers_max")).await;
        Self { told, toml: toml(&asked, from, form), command: command(&asked, from, form) }
    }
}

/// The equivalent `runyard.toml`.
fn toml(asked: &Asked, from: From, form: &Form) -> String {
    let mut all = usual();
    let mut changed = asked.settings.clone();
    if let (Some(Value::Object(base)), Some(Value::Object(over))) =
        (all.get_mut("container"), changed.remove("container"))
    {
        base.extend(over);
    }
    all.extend(changed);
    let Ok(settings) = serde_json::from_value::<Settings>(Value::Object(all)) else { return String::new() };
    let image = form.some("image").filter(|_| from == From::Image);
    let plain = asked.rows.iter().filter(|row| !row.secure && !row.name.is_empty());
    let env: BTreeMap<String, String> = plain.map(|row| (row.name.clone(), row.value.clone())).collect();
    let live = Live {
        name: asked.name.clone(),
        settings,
        handler: form.some("handler").map(str::to_owned),
        python: PythonWish::default(),
        built: image.map(|image| Built { image: Some(image.to_owned()), ..Built::default() }),
        env,
    };
    runyard_project::write(&live)
}

/// The equivalent command.
fn command(asked: &Asked, from: From, form: &Form) -> String {
    let quoted = crate::code::quoted;
    let mut out = match from {
        From::Folder => format!("runyard deploy FOLDER --name {}", asked.name),
        From::Image => format!(
            "runyard deploy --image {} --name {}",
            quoted(form.some("image").unwrap_or("IMAGE")),
            asked.name
        ),
        From::Git => format!(
            "runyard git connect {} --endpoint {}",
            quoted(form.some("url").unwrap_or("URL")),
            asked.name
        ),
    };
    if from == From::Git {
        for (field, flag) in [("branch", "--branch"), ("path", "--path"), ("on", "--on")] {
            if let Some(value) = form.some(field) {
                out.extend([" ", flag, " ", &quoted(value)]);
            }
        }
    }
    for row in asked.rows.iter().filter(|row| !row.name.is_empty()) {
        if row.secure {
            out.extend([" --secret-env ", row.name.as_str()]);
        } else {
            out.extend([" --env ", &quoted(&format!("{}={}", row.name, row.value))]);
        }
    }
    let flags = settings::flags(&asked.settings);
    if from == From::Git && !flags.is_empty() {
        return format!("runyard endpoints create {}{flags}\n{out}", asked.name);
    }
    out + &flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_what_is_deployed() {
        assert_eq!(image_name("ghcr.io:443/me/Worker-x:v1@sha256:00").as_deref(), Some("worker-x"));
        assert_eq!(name_from("My Folder_2").as_deref(), Some("my-folder_2"));
        assert_eq!(name_from("…"), None);
    }

    #[test]
    fn a_form_is_the_file_and_the_command_that_do_the_same() {
        let form = Form::parse(
            b"name=t2i&workers_max=5&gpu_count=2&gpu_kind=24GB&env_name=A&env_value=it's&env_kind=plain&env_name=HF&env_value=x&env_kind=secure",
        );
        let asked = Asked::read(&form, None).expect("a name");
        let text = toml(&asked, From::Folder, &form);
        assert!(text.contains("max = 5") && text.contains("2x24GB") && text.contains("it's"), "{text}");
        assert!(!text.contains("HF"), "a secure value is in no file: {text}");
        let line = command(&asked, From::Folder, &form);
        assert_eq!(
            line,
            "runyard deploy FOLDER --name t2i --env 'A=it'\\''s' --secret-env HF --gpus '2x24GB' --max 5"
        );
        let body = asked.over(Map::new()).expect("a release");
        assert_eq!(body["secretEnv"], json!({"HF": "x"}));
        assert_eq!(body["settings"], json!({"workers_max": 5, "gpus": "2x24GB"}));
    }
}
