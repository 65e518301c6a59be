//! The forms of templates and volumes.

use http::Method;
use serde_json::{Map, Value, json};

use super::{go, number, or_null, wrong};
use crate::call::{Trouble, encoded};
use crate::forms::{After, Form, unknown, what};
use crate::session::Visit;

/// Variables as people write them: a line each, `NAME=VALUE`.
fn variables(text: &str) -> Result<Map<String, Value>, Trouble> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let pair = |line: &str| {
        let (name, value) = line.split_once('=').ok_or_else(|| {
            let line: String = line.chars().take(40).collect();
            wrong(format!("'{line}' is no variable: write NAME=VALUE, one a line"))
        })?;
        Ok((name.trim().to_owned(), json!(value.trim())))
    };
    lines.map(pair).collect()
}

/// What a form says of a template, as the API takes it.
fn template_of(form: &Form) -> Result<Value, Trouble> {
    let mut body = json!({
        "name": form.some("name").ok_or_else(|| wrong("a template needs a name"))?,
        "image": form.some("image").ok_or_else(|| wrong("a template needs an image"))?,
        "args": form.get("args").unwrap_or_default().trim(),
        "env": variables(form.get("env").unwrap_or_default())?,
        "registry": or_null(form.some("registry")),
    });
    let ports = form.get("ports").unwrap_or_default();
    let ports: Vec<&str> = ports.split([',', ' ']).map(str::trim).filter(|port| !port.is_empty()).collect();
    body["ports"] = json!(ports);
    if let Some(disk) = number(form, "disk", "the disk in GB")? {
        body["disk"] = json!(disk);
    }
    if let Some(category) = form.some("category") {
        body["category"] = json!(category);
    }
    Ok(body)
}

pub(super) async fn template(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    let id = form.some("id").map(encoded);
    let one = |id: Option<String>| id.map(|id| format!("/api/v1/templates/{id}")).ok_or_else(unknown);
    match what(form) {
        "create" => {
            let made = visit.send(Method::POST, "/api/v1/templates", &template_of(form)?).await?;
            go("/templates", format!("The template {} is made.", made["name"].as_str().unwrap_or_default()))
        }
        "change" => {
            visit.send(Method::PATCH, &one(id)?, &template_of(form)?).await?;
            go("/templates", "Saved. Endpoints that were made of it stay as they are.")
        }
        "remove" => {
            visit.send(Method::DELETE, &one(id)?, &json!({})).await?;
            go("/templates", "The template is removed. Endpoints that were made of it stay as they are.")
        }
        "deploy" => {
            let name = form.some("name").ok_or_else(|| wrong("an endpoint needs a name"))?;
            let body = json!({"name": name, "type": "QUEUE", "templateId": form.some("id"), "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4}});
            let made = visit.send(Method::POST, "/v2/serverless", &body).await?;
            let id = made["id"].as_str().unwrap_or(name);
            let told = "The endpoint is made; its first release is on its way.";
            go(&format!("/e/{}/releases", encoded(id)), told)
        }
        _ => Err(unknown()),
    }
}

pub(super) async fn volume(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    let one = || form.some("id").map(|id| format!("/api/v1/volumes/{}", encoded(id))).ok_or_else(unknown);
    match what(form) {
        "create" => {
            let size =
                number(form, "size", "the size in GB")?.ok_or_else(|| wrong("a volume needs a size"))?;
            let body = json!({
                "name": form.some("name").ok_or_else(|| wrong("a volume needs a name"))?,
                "size": size,
                "dataCenter": form.some("center").ok_or_else(unknown)?,
            });
            visit.send(Method::POST, "/api/v1/volumes", &body).await?;
            go("/volumes", "The volume is made. Name it in an endpoint's settings, as network_volume.")
        }
        "change" => {
            let mut body = json!({});
            if let Some(name) = form.some("name") {
                body["name"] = json!(name);
            }
            if let Some(size) = number(form, "size", "the size in GB")? {
                body["size"] = json!(size);
            }
            visit.send(Method::PATCH, &one()?, &body).await?;
            go("/volumes", "Saved.")
        }
        "remove" => {
            let volume: Value = visit.get(&one()?).await?;
            let name = volume["name"].as_str().unwrap_or_default();
            if form.get("name").map(str::trim) != Some(name) {
                return Err(wrong(format!(
                    "nothing was removed: type the name '{name}' to remove the volume"
                )));
            }
            visit.send(Method::DELETE, &one()?, &json!({})).await?;
            go("/volumes", format!("The volume {name} is removed with what was in it."))
        }
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_lines() {
        let all = variables("A=1\r\n\n B = two = 2 \n").map_err(|trouble| trouble.detail);
        assert_eq!(all.map(Value::Object), Ok(json!({"A": "1", "B": "two = 2"})));
        assert!(variables("no value").is_err());
    }

    #[test]
    fn a_template_is_read_from_its_form() {
        let form =
            Form::parse(b"name=n&image=i%3A1&ports=8888%2Fhttp%2C+22%2Ftcp&disk=20&registry=&env=&args=+-u+");
        let body = template_of(&form).map_err(|trouble| trouble.detail);
        let expected = json!({
            "name": "n", "image": "i:1", "args": "-u", "env": {}, "registry": null, "ports": ["8888/http", "22/tcp"],
            "disk": 20,
        });
        assert_eq!(body, Ok(expected));
        assert!(template_of(&Form::parse(b"name=n&image=i&disk=much")).is_err());
    }
}
