//! What forms send. Each becomes one call of the API; what came of it is told on the page after it. A form without the
//! number of its page's visitor changes nothing.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode, Uri};
use serde_json::{Map, Value, json};

use crate::call::{Trouble, encoded};
use crate::code::Mode;
use crate::create;
use crate::frame::Flash;
use crate::pages::{self, Page as _, settings};
use crate::place::{Place, Query, Tab};
use crate::session::Visit;
use crate::show;
use crate::views::Endpoint;

/// The largest form, in bytes: as large as a request may be.
const MOST: usize = 12 << 20;

/// The fields of a form.
#[derive(Debug, Default, Clone)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// A form of one field.
    pub(crate) fn of(name: &str, value: &str) -> Self {
        Self(vec![(name.to_owned(), value.to_owned())])
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The values of a field that is there in several rows, the empty ones, too.
    pub(crate) fn column(&self, name: &str) -> Vec<&str> {
        self.pairs().filter(|(found, _)| *found == name).map(|(_, value)| value).collect()
    }

    pub(crate) fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A value that is there and not empty.
    pub(crate) fn some(&self, name: &str) -> Option<&str> {
        self.get(name).map(str::trim).filter(|value| !value.is_empty())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.pairs()
            .filter(|(found, value)| *found == name && !value.is_empty())
            .map(|(_, value)| value)
            .collect()
    }
}

/// Reads a form of at most so many bytes.
pub(crate) async fn read(body: Body, most: usize) -> Result<Form, axum::Error> {
    Ok(Form::parse(&axum::body::to_bytes(body, most).await?))
}

/// What comes after a form.
pub(crate) enum After {
    /// Another page, and what is told there.
    Go(String, String),
    /// An answer that is no other page.
    Answer(Response),
}

/// `POST` of any page.
pub(crate) async fn submit(visit: Visit, uri: Uri, body: Body) -> Response {
    let Ok(form) = read(body, MOST).await else {
        let trouble = Trouble::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Too large",
            "the form is larger than 12 MiB, or broke off",
        );
        return pages::refused(&visit, uri.path(), &trouble);
    };
    if !visit.owns(&form) {
        let detail =
            "this form is not one of your session's pages; open the page again and send it from there";
        return pages::refused(&visit, uri.path(), &Trouble::new(StatusCode::FORBIDDEN, "Not sent", detail));
    }
    let place = match Place::parse(uri.path()) {
        Ok(place) => place,
        Err(trouble) => return pages::refused(&visit, uri.path(), &trouble),
    };
    let back =
        form.get("back").filter(|back| crate::session::is_own_path(back)).unwrap_or(uri.path()).to_owned();
    let done = match &place {
        Place::Endpoint { ep, tab } => endpoint(&visit, ep, *tab, &form).await,
        Place::Job(id) => job(&visit, id, &form).await,
        Place::Entry(name) => create::entry(&visit, name, &form).await,
        Place::Git => create::git::submit(&visit, &form).await,
        Place::Release { ep, .. } => endpoint(&visit, ep, Tab::Releases, &form).await,
        Place::Keys => crate::things::keys::submit(&visit, &form, &back).await,
        Place::Secrets => secret(&visit, &form).await,
        place => crate::things::submit(&visit, place, &form).await,
    };
    match done {
        Ok(After::Go(to, text)) if text.is_empty() => axum::response::Redirect::to(&to).into_response(),
        Ok(After::Go(to, text)) => Flash { ok: true, text }.redirect(&visit, &to),
        Ok(After::Answer(response)) => response,
        Err(trouble) => Flash { ok: false, text: trouble.words() }.redirect(&visit, &back),
    }
}

/// What a form asks for.
pub(crate) fn what(form: &Form) -> &str {
    form.get("do").unwrap_or_default()
}

pub(crate) fn unknown() -> Trouble {
    Trouble::new(StatusCode::BAD_REQUEST, "Not sent", "this page has no such form; open it again")
}

async fn endpoint(visit: &Visit, ep: &str, tab: Tab, form: &Form) -> Result<After, Trouble> {
    let api = format!("/api/v1/endpoints/{ep}");
    let here = tab.href(ep);
    let done = match (tab, what(form)) {
        (Tab::Requests, "send" | "") => return send(visit, ep, form).await,
        (Tab::Requests, "keep") => return keep(visit, ep, form).await,
        (Tab::Requests, "forget") => {
            let name = form.some("name").ok_or_else(unknown)?;
            visit.send(Method::DELETE, &format!("{api}/examples/{}", encoded(name)), &json!({})).await?;
            format!("The example {name} is removed.")
        }
        (Tab::Settings, "variable") => return variable(visit, ep, form).await,
        (Tab::Settings, "save") => return save(visit, ep, form).await,
        (_, "restart") => {
            let answer = visit.send(Method::POST, &format!("{api}/restart"), &json!({})).await?;
            let count =
                answer["draining"].as_u64().or(answer["draining"].as_array().map(|list| list.len() as u64));
            format!(
                "{} end when their jobs are done; new ones take their place.",
                show::count(count.unwrap_or(0), "worker")
            )
        }
        (Tab::Workers, "stop" | "kill") => {
            let worker = form.some("worker").ok_or_else(unknown)?;
            let now = what(form) == "kill";
            let path = format!("/api/v1/workers/{}/stop", encoded(worker));
            let answer = visit.send(Method::POST, &path, &json!({"now": now})).await?;
            let (worker, jobs) = (show::short(worker), answer["jobs"].as_u64().unwrap_or(0));
            match (now, jobs) {
                (_, 0) => format!("Worker {worker} ends; it ran no job."),
                (true, _) => {
                    format!("Worker {worker} is killed; {} back in the queue.", show::count(jobs, "job"))
                }
                (false, _) => format!("Worker {worker} ends after {}.", show::count(jobs, "job")),
            }
        }
        (_, "purge") => {
            let answer = visit.send(Method::POST, &format!("{api}/purge"), &json!({})).await?;
            format!("{} removed from the queue.", show::count(answer["removed"].as_u64().unwrap_or(0), "job"))
        }
        (Tab::Releases, "rollback" | "promote") => {
            let to: u32 = form.get("to").and_then(|to| to.parse().ok()).ok_or_else(unknown)?;
            visit.follow(&format!("{api}/{}", what(form)), &json!({"to": to})).await?;
            format!("Traffic goes to release {to}.")
        }
        (Tab::Settings, "remove") => {
            let endpoint: Endpoint = visit.get(&api).await?;
            if form.get("name").map(str::trim) != Some(&endpoint.name) {
                let detail =
                    format!("nothing was removed: type the name '{}' to remove the endpoint", endpoint.name);
                return Err(Trouble::new(StatusCode::BAD_REQUEST, "Not removed", detail));
            }
            visit.send(Method::DELETE, &api, &json!({})).await?;
            return Ok(After::Go("/endpoints".into(), format!("The endpoint {} is removed.", endpoint.name)));
        }
        _ => return Err(unknown()),
    };
    Ok(After::Go(
        form.get("back").filter(|b| crate::session::is_own_path(b)).map_or(here, str::to_owned),
        done,
    ))
}

/// Sends a request; its page shows what comes of it.
async fn send(visit: &Visit, ep: &str, form: &Form) -> Result<After, Trouble> {
    let again = |why: String| async move {
        let page = pages::requests_refused(visit, ep, form, why).await?;
        Ok(After::Answer(pages::html(StatusCode::BAD_REQUEST, page.whole())))
    };
    let input = match pages::input_of(form) {
        Ok(input) => input,
        Err(why) => return again(why).await,
    };
    let body = match pages::body_of(form, &input) {
        Ok(body) => body,
        Err(why) => return again(why).await,
    };
    let mode = Mode::of(form.get("mode").unwrap_or_default());
    // The page waits and not this answer; what is quick is there with it.
    let operation = if mode == Mode::RunSync { "runsync?wait=1000" } else { "run" };
    let sent = visit.submit(&format!("/v2/{ep}/{operation}"), body, form.some("idempotency")).await;
    let answer: Value = match sent {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(trouble) => return again(trouble.words()).await,
    };
    let id = answer["id"].as_str().unwrap_or_default();
    let how = if form.get("as") == Some("form") { "&as=form" } else { "" };
    Ok(After::Go(format!("/e/{ep}/requests?job={}&mode={}{how}", encoded(id), mode.word()), String::new()))
}

/// Changes settings; a form that is refused comes back as it was typed.
async fn save(visit: &Visit, ep: &str, form: &Form) -> Result<After, Trouble> {
    let api = format!("/api/v1/endpoints/{ep}");
    let endpoint: Endpoint = visit.get(&api).await?;
    let saved = match settings::changes(form, &endpoint.settings) {
        Ok(changes) if changes.is_empty() => {
            return Ok(After::Go(Tab::Settings.href(ep), "Nothing was changed.".into()));
        }
        Ok(changes) => {
            let names: Vec<&str> = changes.keys().map(String::as_str).collect();
            let told = format!("Saved: {}.", names.join(", "));
            let body = json!({"settings": changes});
            let begun = visit.begin(Method::PATCH, &api, &body, form.some("version")).await;
            begun.map(|is_release| (is_release, told))
        }
        Err(why) => Err(Trouble::new(StatusCode::BAD_REQUEST, "Not saved", why)),
    };
    match saved {
        Ok((false, told)) => Ok(After::Go(Tab::Settings.href(ep), told)),
        Ok((true, _)) => Ok(After::Go(
            create::newest(visit, ep).await?,
            "A release with these settings is on its way; they hold when it serves.".to_owned(),
        )),
        Err(trouble) => {
            let page = settings::load(visit, ep, &Query::default(), Some((form, trouble.words()))).await?;
            Ok(After::Answer(pages::html(trouble.status, page.whole())))
        }
    }
}

/// Keeps the input of the form as an example.
async fn keep(visit: &Visit, ep: &str, form: &Form) -> Result<After, Trouble> {
    let kept = match (pages::input_of(form), form.some("example")) {
        (Ok(input), Some(name)) => {
            let path = format!("/api/v1/endpoints/{ep}/examples/{}", encoded(name));
            let body = format!("{{\"input\":{input}}}");
            visit.call(Method::PUT, &path, Some(body)).await.map(|_| name).map_err(|trouble| trouble.words())
        }
        (Err(why), _) => Err(why),
        (_, None) => Err("An example needs a name.".to_owned()),
    };
    match kept {
        Ok(name) => Ok(After::Go(
            format!("/e/{ep}/requests?example={}", encoded(name)),
            format!("The example {name} is kept for everybody."),
        )),
        Err(why) => {
            let page = pages::requests_refused(visit, ep, form, why).await?;
            Ok(After::Answer(pages::html(StatusCode::BAD_REQUEST, page.whole())))
        }
    }
}

/// Sets a variable, takes it away, or makes it secure or exposed: each makes a release.
async fn variable(visit: &Visit, ep: &str, form: &Form) -> Result<After, Trouble> {
    let wrong = |detail: &str| Trouble::new(StatusCode::BAD_REQUEST, "Not set", detail);
    let name = form.some("name").ok_or_else(|| wrong("a variable needs a name"))?;
    let secure = form.get("kind") == Some("secure");
    let value = form.get("value").unwrap_or_default();
    let (field, value) = match form.get("remove") {
        Some(_) => ("env", Value::Null),
        None if secure && value.is_empty() => {
            return Err(wrong("a secure variable needs its value: what is sealed is not shown here again"));
        }
        None => (if secure { "secretEnv" } else { "env" }, json!(value)),
    };
    let mut one = Map::new();
    one.insert(name.to_owned(), value);
    let api = format!("/api/v1/endpoints/{ep}");
    match visit.begin(Method::PATCH, &api, &json!({field: one}), form.some("version")).await {
        Ok(true) => Ok(After::Go(
            create::newest(visit, ep).await?,
            format!("A release with another {name} is on its way."),
        )),
        Ok(false) => Ok(After::Go(Tab::Settings.href(ep), format!("{name} is so already."))),
        Err(trouble) => {
            let page = settings::load(visit, ep, &Query::default(), Some((form, trouble.words()))).await?;
            Ok(After::Answer(pages::html(trouble.status, page.whole())))
        }
    }
}

async fn job(visit: &Visit, id: &str, form: &Form) -> Result<After, Trouble> {
    let (verb, told) = match what(form) {
        "cancel" => ("cancel", "Cancelled."),
        "retry" => ("retry", "It is in the queue again."),
        "redeliver" => ("webhooks/redeliver", "Its webhook is told once more."),
        _ => return Err(unknown()),
    };
    visit.send(Method::POST, &format!("/api/v1/jobs/{}/{verb}", encoded(id)), &json!({})).await?;
    Ok(After::Go(format!("/jobs/{}", encoded(id)), told.into()))
}

async fn secret(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    let name = form
        .some("name")
        .ok_or_else(|| Trouble::new(StatusCode::BAD_REQUEST, "Not set", "a secret needs a name"))?;
    let path = format!("/api/v1/secrets/{}", encoded(name));
    let told = match what(form) {
        "set" => {
            let mut body = json!({});
            if let Some(value) = form.get("value").filter(|value| !value.is_empty()) {
                body["value"] = json!(value);
                body["restart"] = json!(form.get("restart").is_some());
            }
            if let Some(text) = form.get("description") {
                body["description"] = json!(text);
            }
            let set = visit.send(Method::PUT, &path, &body).await?;
            let restarting = set["restarting"].as_array().map_or(0, Vec::len) as u64;
            let restart = if restarting > 0 {
                format!(" Workers of {} are replaced.", show::count(restarting, "endpoint"))
            } else {
                String::new()
            };
            format!("The secret {name} is version {}.{restart}", set["version"])
        }
        "delete" => {
            visit.send(Method::DELETE, &path, &json!({})).await?;
            format!("The secret {name} is deleted.")
        }
        _ => return Err(unknown()),
    };
    Ok(After::Go("/secrets".into(), told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_its_fields() {
        let form = Form::parse(b"a=1&a=2&b=&c=%3Cx%3E+y");
        assert_eq!((form.get("a"), form.some("b"), form.get("c")), (Some("1"), None, Some("<x> y")));
        assert_eq!(form.all("a"), ["1", "2"]);
    }
}
