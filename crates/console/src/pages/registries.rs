//! Logins for the registries that images come from. No page has a password.

use askama::Template;
use serde::Deserialize;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::page;
use crate::place::Query;
use crate::session::Visit;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registry {
    name: String,
    server: String,
    username: String,
    created_at: i64,
    #[serde(default)]
    used_by: Vec<String>,
}

#[derive(Deserialize)]
struct List {
    registries: Vec<Registry>,
}

#[derive(Template)]
#[template(path = "registries.html")]
#[expect(clippy::struct_field_names, reason = "the list has the name of its page")]
pub(crate) struct Registries {
    frame: Frame,
    registries: Vec<Registry>,
    /// The one that gets another password.
    chosen: Option<Registry>,
}

page!(Registries: );

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Registries, Trouble> {
    let mut frame = Frame::new(visit, "/registries", "Registries", "/registries", query);
    frame.stream = None;
    frame.same.cli = vec![
        "runyard registries list".into(),
        "runyard registries add gh --server ghcr.io --username me".into(),
    ];
    frame.same.api = vec![
        "GET /api/v1/registries".into(),
        "POST /api/v1/registries {\"name\": …, \"server\": …, \"username\": …, \"password\": …}".into(),
    ];
    frame.same.toml = Some("[build]\nregistry = \"NAME\"\n".into());
    let List { registries } = visit.get("/api/v1/registries?limit=1000").await?;
    let chosen =
        query.get("replace").and_then(|name| registries.iter().find(|one| one.name == name).cloned());
    Ok(Registries { frame, registries, chosen })
}
