//! Repositories: an endpoint that follows one is made, a connection is added, looked at, or ended.

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{Asked, name_from, refuse_known, wrong};
use crate::call::{Trouble, encoded};
use crate::forms::{After, Form};
use crate::pages::{self, Page as _};
use crate::place::{Query, Tab};
use crate::session::Visit;
use crate::variables;

/// The texts of a connection, as the form and the API call them.
const TEXTS: [(&str, &str); 8] = [
    ("branch", "branch"),
    ("on", "on"),
    ("path", "path"),
    ("dockerfile", "dockerfile"),
    ("handler", "handler"),
    ("user", "user"),
    ("token", "token"),
    ("deploy_key", "deployKey"),
];

/// What connects.
fn body(form: &Form, env: &Map<String, Value>, secure: &Map<String, Value>) -> Result<Value, Trouble> {
    let url = form.some("url").ok_or_else(|| wrong("name the repository, as https://github.com/me/repo"))?;
    let mut body = json!({"url": url, "env": env, "pullRequests": form.get("pull_requests").is_some()});
    if !secure.is_empty() {
        body["secretEnv"] = json!(secure);
    }
    for (field, name) in TEXTS {
        if let Some(value) = form.some(field) {
            body[name] = json!(value);
        }
    }
    Ok(body)
}

/// The name of a repository, for its endpoint.
fn name_of(form: &Form) -> Option<String> {
    let url = form.some("url")?.trim_end_matches('/');
    let last = url.rsplit(['/', ':']).next()?;
    name_from(last.strip_suffix(".git").unwrap_or(last))
}

/// Makes an endpoint that follows a repository.
pub(super) async fn make(visit: &Visit, form: &Form) -> Result<(String, String), Trouble> {
    let asked = Asked::read(form, name_of(form))?;
    let (plain, secure) = variables::split(&asked.rows).map_err(wrong)?;
    let body = body(form, &plain, &secure)?;
    let ep = encoded(&asked.name);
    refuse_known(visit, &asked.name).await?;
    let made = json!({"name": asked.name, "settings": asked.settings});
    visit.send(Method::POST, "/api/v1/endpoints", &made).await?;
    if let Err(trouble) = visit.send(Method::POST, &format!("/api/v1/endpoints/{ep}/git"), &body).await {
        // Nothing is left of what could not be made whole.
        visit.send(Method::DELETE, &format!("/api/v1/endpoints/{ep}"), &json!({})).await?;
        return Err(trouble);
    }
    let told = format!(
        "{} follows its repository; its first release comes here when the commit is fetched.",
        asked.name
    );
    Ok((Tab::Releases.href(&ep), told))
}

/// A form of the page about repositories.
pub(crate) async fn submit(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    let ep = form.some("endpoint").map(encoded).unwrap_or_default();
    let path = format!("/api/v1/endpoints/{ep}/git");
    let told = match form.get("do") {
        Some("connect") => match connect(visit, form, &path).await {
            // Its secret is shown this once: in no address and no cookie.
            Ok(page) => return Ok(After::Answer(page)),
            Err(trouble) => {
                let page = pages::git::load(visit, &Query::default(), Some((form, trouble.words()))).await?;
                return Ok(After::Answer(pages::html(StatusCode::BAD_REQUEST, page.whole())));
            }
        },
        Some("sync") => {
            visit.send(Method::POST, &format!("{path}/sync"), &json!({})).await?;
            "It is looked at now.".to_owned()
        }
        Some("disconnect") => {
            let answer = visit.send(Method::DELETE, &path, &json!({})).await?;
            let previews = answer["previewsRemoved"].as_u64().unwrap_or_default();
            format!(
                "It follows nothing any more; {} of pull requests removed.",
                crate::show::count(previews, "endpoint")
            )
        }
        _ => return Err(wrong("this page has no such form; open it again")),
    };
    Ok(After::Go("/git".to_owned(), told))
}

async fn connect(visit: &Visit, form: &Form, path: &str) -> Result<axum::response::Response, Trouble> {
    if form.some("endpoint").is_none() {
        return Err(wrong("choose the endpoint that shall follow it"));
    }
    let (plain, secure) = variables::split(&variables::rows(form)).map_err(wrong)?;
    let made = visit.send(Method::POST, path, &body(form, &plain, &secure)?).await?;
    let mut page = pages::git::load(visit, &Query::default(), None).await?;
    page.made(&made);
    Ok(pages::html(StatusCode::OK, page.whole()))
}
