//! The forms of keys. A key that is made is tried at once and shown this once.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

use super::{go, number, wrong};
use crate::call::{Trouble, encoded};
use crate::forms::{After, Form, unknown, what};
use crate::pages::{self, Page as _, keys};
use crate::place::Query;
use crate::session::Visit;

pub(crate) async fn submit(visit: &Visit, form: &Form, back: &str) -> Result<After, Trouble> {
    let id = form.get("id").map(encoded).unwrap_or_default();
    let one = format!("/api/v1/keys/{id}");
    let told = match what(form) {
        "create" => return create(visit, form).await,
        "disable" | "enable" => {
            let disabled = what(form) == "disable";
            visit.send(Method::PATCH, &one, &json!({"disabled": disabled})).await?;
            if disabled { "The key opens nothing until it is enabled." } else { "The key is valid again." }
        }
        "change" => {
            let mut body = json!({});
            if let Some(name) = form.some("name") {
                body["name"] = json!(name);
            }
            if let Some(days) = number(form, "days", "the days that a key is valid")? {
                body["expiresInS"] = json!(days.saturating_mul(86_400));
            } else if form.get("forever").is_some() {
                body["expiresInS"] = Value::Null;
            }
            if let Some(rates) = form.get("rates") {
                body["rates"] = Value::Object(rates_of(rates)?);
            }
            visit.send(Method::PATCH, &one, &body).await?;
            "Saved."
        }
        "revoke" => {
            visit.send(Method::DELETE, &one, &json!({})).await?;
            "The key is revoked for good."
        }
        _ => return Err(unknown()),
    };
    go(back, told)
}

async fn create(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    let made = visit.send(Method::POST, "/api/v1/keys", &wanted(form)?).await?;
    let mut made: keys::Made = serde_json::from_value(made).map_err(|_| unknown())?;
    made.tried = tried(visit, &made).await;
    let page = keys::load(visit, &Query::default(), Some(made)).await?;
    // Not another page: the key is in no address and no cookie.
    Ok(After::Answer(pages::html(StatusCode::OK, page.whole())))
}

/// What a form says of a new key, as the API takes it.
fn wanted(form: &Form) -> Result<Value, Trouble> {
    let mut body = json!({"name": form.some("name").unwrap_or("unnamed"), "access": form.get("access").unwrap_or("run")});
    let endpoints = form.all("endpoint");
    if !endpoints.is_empty() {
        body["endpoints"] = json!(endpoints);
    }
    if let Some(days) = number(form, "days", "the days that a key is valid")? {
        body["expiresInS"] = json!(days.saturating_mul(86_400));
    }
    if let Some(rates) = form.some("rates") {
        body["rates"] = Value::Object(rates_of(rates)?);
    }
    if form.get("pages").is_some() {
        let origins: Vec<&str> = form.get("origins").unwrap_or_default().split_whitespace().collect();
        let mut page = json!({"origins": origins});
        let operations = form.all("operation");
        if !operations.is_empty() {
            page["operations"] = json!(operations);
        }
        body["page"] = page;
    }
    if form.get("nobody").is_some() {
        body["member"] = Value::Null;
    }
    Ok(body)
}

/// Rates as the command line takes them: `run=1000/200`, several with blanks between them.
fn rates_of(text: &str) -> Result<Map<String, Value>, Trouble> {
    let pair = |part: &str| {
        let (group, rate) = part
            .split_once('=')
            .ok_or_else(|| wrong(format!("'{part:.40}' is no rate: write it as run=1000/200")))?;
        Ok((group.to_owned(), json!(rate)))
    };
    text.split_whitespace().map(pair).collect()
}

/// Whether a key that was just made opens what it is for, tried as a program would: with the key alone.
async fn tried(visit: &Visit, made: &keys::Made) -> Option<bool> {
    let path = match made.endpoint() {
        Some(_) if made.is_for_pages() => return None,
        Some(name) => format!("/v2/{name}/health"),
        None => "/api/v1/info".to_owned(),
    };
    let key = format!("Bearer {}", made.text());
    let request = Request::get(path).header(header::AUTHORIZATION, key).body(Body::empty()).ok()?;
    let Ok(answer) = visit.console.inner.api.clone().oneshot(request).await;
    Some(answer.status().is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_its_form() {
        let form = Form::parse(
            b"name=web&access=run&endpoint=llm&days=2&pages=1&origins=https%3A%2F%2Fa.example%0Ahttp%3A%2F%2Fb&operation=run&operation=status&rates=run%3D10%2F2&nobody=1",
        );
        let expected = json!({
            "name": "web", "access": "run", "endpoints": ["llm"], "expiresInS": 172_800, "rates": {"run": "10/2"},
            "page": {"origins": ["https://a.example", "http://b"], "operations": ["run", "status"]}, "member": null,
        });
        assert_eq!(wanted(&form).map_err(|trouble| trouble.detail), Ok(expected));
        assert!(wanted(&Form::parse(b"days=many")).is_err());
        assert!(rates_of("fast").is_err());
    }
}
