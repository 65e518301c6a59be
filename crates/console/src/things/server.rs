//! The forms of the server's page: a backup, which the browser downloads as it is made, and the secret that webhooks are
//! signed with.

use axum::body::Body;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use runyard_backup::{SHORTEST_PASSPHRASE, Wrapping};
use serde_json::json;

use super::wrong;
use crate::call::{Trouble, trouble};
use crate::forms::{After, Form, unknown, what};
use crate::pages::{self, Page as _, server};
use crate::place::Query;
use crate::session::Visit;

pub(super) async fn submit(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    match what(form) {
        "backup" => backup(visit, form).await,
        "show" => secret(visit).await,
        "rotate" => {
            visit.send(http::Method::POST, "/api/v1/webhooks/secret/rotate", &json!({})).await?;
            secret(visit).await
        }
        _ => Err(unknown()),
    }
}

/// The archive, passed on as it comes.
async fn backup(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    let wrapping = match passphrase(form)? {
        Some(phrase) => {
            let mut salt = [0; 16];
            visit.console.inner.engine.env().fill(&mut salt);
            let made = tokio::task::spawn_blocking(move || Wrapping::new(&phrase, salt)).await;
            Some(made.map_err(|_| wrong("the passphrase could not be used; try again"))?)
        }
        None => None,
    };
    let file = file_name(visit.console.inner.engine.env().wall().0);
    let to = format!("the browser of {:.200}, as {file}", visit.name());
    let body = json!({"logs": form.get("logs").is_some(), "wrapping": wrapping, "to": to});
    let request = Request::post("/api/v1/backup")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .map_err(|_| unknown())?;
    let mut answer = visit.pass(request).await;
    let status = answer.status();
    if !status.is_success() {
        let read = answer.into_body().collect().await;
        let bytes = read.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        return Err(trouble(status, &bytes));
    }
    let name = HeaderValue::try_from(format!("attachment; filename=\"{file}\"")).map_err(|_| unknown())?;
    answer.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(After::Answer(answer))
}

/// What closes the keys of the archive, where they are to be in it.
fn passphrase(form: &Form) -> Result<Option<String>, Trouble> {
    let typed = |name: &str| form.get(name).unwrap_or_default().trim().to_owned();
    let phrase = typed("passphrase");
    if phrase != typed("again") {
        return Err(wrong("the two passphrases differ; nothing was made"));
    }
    match phrase.chars().count() {
        0 => Ok(None),
        SHORTEST_PASSPHRASE.. => Ok(Some(phrase)),
        _ => Err(wrong(format!("a passphrase has at least {SHORTEST_PASSPHRASE} characters"))),
    }
}

/// Named after the time, as `runyard backup create` does in a folder.
fn file_name(at: i64) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or_default();
    format!("runyard-{}.tar", at.strftime("%Y%m%dT%H%M%SZ"))
}

/// The page with the secret on it: not another page, so that it is in no address and no cookie.
async fn secret(visit: &Visit) -> Result<After, Trouble> {
    let page = server::load(visit, &Query::default(), true).await?;
    Ok(After::Answer(pages::html(StatusCode::OK, page.whole())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_typed_twice_or_not_at_all() {
        let of = |text: &[u8]| passphrase(&Form::parse(text)).map_err(|trouble| trouble.detail);
        assert_eq!(of(b"passphrase=&again="), Ok(None));
        assert_eq!(of(b"passphrase=long+enough&again=long+enough"), Ok(Some("long enough".to_owned())));
        assert!(of(b"passphrase=long+enough&again=long+enouhg").is_err());
        assert!(of(b"passphrase=short&again=short").is_err());
        assert_eq!(file_name(0), "runyard-19700101T000000Z.tar");
    }
}
