//! The forms of members.

use http::{Method, StatusCode};
use serde_json::json;

use super::{go, number, wrong};
use crate::call::{Trouble, encoded};
use crate::forms::{After, Form, unknown, what};
use crate::pages::{self, Page as _, members};
use crate::place::Query;
use crate::session::Visit;

pub(super) async fn submit(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    let email = form.some("email").ok_or_else(|| wrong("a member needs an e-mail address"))?;
    let one = format!("/api/v1/members/{}", encoded(email));
    let told = match what(form) {
        "add" => return add(visit, form, email).await,
        "role" => {
            let role = form.some("role").ok_or_else(unknown)?;
            visit.send(Method::PATCH, &one, &json!({"role": role})).await?;
            format!("{email} has the role {role} from now on.")
        }
        "disable" | "enable" => {
            let disabled = what(form) == "disable";
            visit.send(Method::PATCH, &one, &json!({"disabled": disabled})).await?;
            if disabled {
                format!("Nothing of {email} opens anything until it is enabled.")
            } else {
                format!("What {email} has opens again what it did.")
            }
        }
        "remove" => {
            visit.send(Method::DELETE, &one, &json!({})).await?;
            format!("{email} is removed, and the keys with it.")
        }
        _ => return Err(unknown()),
    };
    go("/members", told)
}

async fn add(visit: &Visit, form: &Form, email: &str) -> Result<After, Trouble> {
    let mut body = json!({"email": email, "role": form.some("role").unwrap_or("basic")});
    if let Some(name) = form.some("name") {
        body["name"] = json!(name);
    }
    if form.get("key").is_some() {
        body["key"] = json!(true);
        if let Some(days) = number(form, "days", "the days that a key is valid")? {
            body["expiresInS"] = json!(days.saturating_mul(86_400));
        }
    }
    let made = visit.send(Method::POST, "/api/v1/members", &body).await?;
    match made["key"].as_str() {
        // Not another page: the key is in no address and no cookie.
        Some(key) => {
            let made = Some((email.to_owned(), key.to_owned()));
            let page = members::load(visit, &Query::default(), made).await?;
            Ok(After::Answer(pages::html(StatusCode::OK, page.whole())))
        }
        None => go("/members", format!("{email} is a member, and signs in at the identity provider.")),
    }
}
