//! What the forms of the pages beside endpoints and jobs do: each becomes one call of the API.

mod jobs;
pub(crate) mod keys;
mod members;
mod server;
mod shared;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::call::{Trouble, encoded};
use crate::forms::{After, Form, unknown, what};
use crate::place::Place;
use crate::session::Visit;
use crate::show;

/// The form of a page.
pub(crate) async fn submit(visit: &Visit, place: &Place, form: &Form) -> Result<After, Trouble> {
    match place {
        Place::Templates => shared::template(visit, form).await,
        Place::Volumes => shared::volume(visit, form).await,
        Place::Registries => registry(visit, form).await,
        Place::SshKeys => ssh_key(visit, form).await,
        Place::Members => members::submit(visit, form).await,
        Place::Disk => disk(visit, form).await,
        Place::Jobs => jobs::submit(visit, form).await,
        Place::Server => server::submit(visit, form).await,
        _ => Err(Trouble::new(StatusCode::METHOD_NOT_ALLOWED, "Not sent", "this page has no form")),
    }
}

/// What a form says is not to be sent.
fn wrong(detail: impl Into<String>) -> Trouble {
    Trouble::new(StatusCode::BAD_REQUEST, "Not sent", detail)
}

#[expect(clippy::unnecessary_wraps, reason = "each form ends with it")]
fn go(to: &str, told: impl Into<String>) -> Result<After, Trouble> {
    Ok(After::Go(to.to_owned(), told.into()))
}

/// A number that a field may hold.
fn number(form: &Form, name: &str, called: &str) -> Result<Option<i64>, Trouble> {
    let Some(text) = form.some(name) else { return Ok(None) };
    let number = text.parse().map_err(|_| wrong(format!("{called} must be a whole number")))?;
    Ok(Some(number))
}

async fn registry(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    let name = form.some("name").ok_or_else(|| wrong("a login needs a name"))?;
    match what(form) {
        "add" => {
            let mut body = json!({"name": name, "password": form.get("password").unwrap_or_default()});
            for field in ["server", "username"] {
                if let Some(text) = form.some(field) {
                    body[field] = json!(text);
                }
            }
            if form.get("replace").is_some() {
                body["replace"] = json!(true);
            }
            let kept = visit.send(Method::POST, "/api/v1/registries", &body).await?;
            let login = &kept["login"];
            let said = login["message"].as_str().unwrap_or_default();
            let told = match login["state"].as_str() {
                Some("accepted") => format!("The login {name} is kept; {said}."),
                Some("refused") => {
                    format!("The login {name} is kept, but {said}: replace it with another password.")
                }
                Some(_) => format!("The login {name} is kept, and was not tried: {said}."),
                None => format!("The login {name} is kept."),
            };
            go("/registries", told)
        }
        "remove" => {
            let force = if form.get("force").is_some() { "?force=true" } else { "" };
            let path = format!("/api/v1/registries/{}{force}", encoded(name));
            visit.send(Method::DELETE, &path, &json!({})).await?;
            go("/registries", format!("The login {name} is removed."))
        }
        _ => Err(unknown()),
    }
}

async fn ssh_key(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    let (mut keys, version) = crate::pages::ssh_keys::read(visit).await?;
    let told = match what(form) {
        "add" => {
            let text = form.get("keys").unwrap_or_default();
            let new: Vec<String> =
                text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
            if new.is_empty() {
                return Err(wrong("paste a public key, as ssh-ed25519 AAAA… name"));
            }
            let before = keys.len();
            for key in new {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            match keys.len() - before {
                0 => "It was there already.".to_owned(),
                more => format!("{} kept.", show::count(more as u64, "key")),
            }
        }
        "remove" => {
            let gone = form.get("key").unwrap_or_default();
            let before = keys.len();
            keys.retain(|key| key != gone);
            if keys.len() == before {
                return Err(wrong("that key is not kept any more"));
            }
            "The key is removed.".to_owned()
        }
        _ => return Err(unknown()),
    };
    crate::pages::ssh_keys::replace(visit, &keys, version).await?;
    go("/ssh-keys", told)
}

async fn disk(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    if what(form) != "prune" {
        return Err(unknown());
    }
    let gone = visit.send(Method::POST, "/api/v1/disk/prune", &json!({"dryRun": false})).await?;
    let things: u64 = gone["accounts"].as_array().map_or(0, |accounts| {
        accounts.iter().map(|account| account["goesThings"].as_u64().unwrap_or_default()).sum()
    });
    let bytes = gone["goesBytes"].as_u64().unwrap_or_default();
    go("/disk", format!("{} removed, {} free again.", show::count(things, "thing"), show::bytes(bytes)))
}

/// `Value::Null` where a text is empty.
fn or_null(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| json!(text))
}
