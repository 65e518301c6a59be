//! A new endpoint. It is answered at once; its first release is made behind it ([`crate::rest::build`]).

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use runyard_domain::endpoint::is_valid_name;
use runyard_domain::{Access, Blueprint, Endpoint, FlashBoot, Settings};
use serde_json::Value;

use super::body::Body;
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;
use crate::rest::reader::{Object, Raw};

/// How long a worker without a job is kept, where nothing is said.
const IDLE_S: u32 = 10;

pub(in crate::rest) async fn create(
    State(manage): State<Manage>,
    auth: Auth,
    raw: Raw,
) -> Result<(StatusCode, Json<Value>), Problem> {
    auth.0.may(Access::Deploy, None)?;
    let (title, balances, body) = raw.read(read)?;
    if balances {
        return Err(Problem::invalid("endpoints of the type LOAD_BALANCER cannot be made here yet")
            .hint("QUEUE is the other type"));
    }
    // What RunPod is seen to do where nothing is said: no limit of time, no FlashBoot.
    let mut settings = Settings {
        idle_timeout_s: IDLE_S,
        execution_timeout_ms: 0,
        flash_boot: FlashBoot::Off,
        ..Settings::default()
    };
    body.over_settings(&mut settings)?;
    let _turn = manage.inner.rest.turn.lock().await;
    let blueprint =
        body.over_blueprint(&manage, &Blueprint { title: title.clone(), ..Blueprint::default() })?;
    manage.check_config(&blueprint.config).await?;
    let name = manage.name_for(&title, None)?;
    let engine = &manage.inner.engine;
    let mut endpoint = Endpoint::new(engine.env().endpoint_id(), name, engine.now(), settings);
    endpoint.settings.gpus = blueprint.gpus().map_err(Problem::invalid)?;
    endpoint.blueprint = Some(Box::new(blueprint));
    engine.put_endpoint(endpoint.clone()).await?;
    manage.inner.rest.behind.notify_one();
    Ok((StatusCode::CREATED, Json(manage.serverless_view(&endpoint)?)))
}

fn read(object: &Object<'_>) -> Option<(String, bool, Body)> {
    let kind = object.word("type", &[("QUEUE", false), ("LOAD_BALANCER", true)]);
    let balances = object.required("type", kind);
    let body = Body::read(object, true);
    if !object.has("scaling") {
        object.wrong("missing property 'scaling'");
    }
    if !object.has("templateId") && !object.has("image") {
        object.wrong("missing property 'image'");
    }
    let name = object.required("name", body.name.clone());
    Some((name?, balances?, body))
}

impl Manage {
    /// The name of an endpoint that its user calls `title`: that in lowercase letters, digits and dashes, with an
    /// ending where another has it. Two of the same title are refused.
    pub(super) fn name_for(&self, title: &str, own: Option<&Endpoint>) -> Result<String, Problem> {
        let engine = &self.inner.engine;
        let others = engine.endpoints();
        let mut others = others.iter().filter(|other| own.is_none_or(|own| own.id != other.id));
        let titled =
            |other: &Endpoint| other.blueprint.as_ref().map_or(other.name == title, |b| b.title == title);
        if others.any(|other| titled(other)) {
            return Err(Problem::conflict(format!("there is an endpoint '{title}' already"))
                .hint("take another name, or change that one"));
        }
        let name = slug(title);
        let free = |name: &str| {
            is_valid_name(name)
                && engine.endpoint(name).is_none_or(|found| own.is_some_and(|own| own.id == found.id))
        };
        if free(&name) {
            return Ok(name);
        }
        let short: String = name.chars().take(50).collect();
        Ok(format!("{short}-{}", engine.env().token(6)))
    }
}

/// A title as a name: `My App!` is `my-app`.
pub(in crate::rest) fn slug(title: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '-' };
    let text: String = title.to_ascii_lowercase().chars().map(plain).collect();
    let words: Vec<&str> = text.split('-').filter(|word| !word.is_empty()).collect();
    let name = words.join("-");
    let name: String = name.trim_start_matches(['_', '.']).chars().take(60).collect();
    if name.is_empty() { "endpoint".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_become_names() {
        for (title, name) in
            [("My App!", "my-app"), ("t2i", "t2i"), ("--", "endpoint"), ("_.x", "x"), ("Größe 2", "gr-e-2")]
        {
            assert_eq!(slug(title), name);
            assert!(is_valid_name(&slug(title)), "{title}");
        }
        assert!(is_valid_name(&slug(&"long ".repeat(60))));
    }
}
