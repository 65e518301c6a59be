//! Templates: containers that are described once, and an endpoint made of one.

use serde::Deserialize;
use serde_json::Value;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::page;
use crate::place::Query;
use crate::session::Visit;

/// A template, as far as the page shows it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Template {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) image: String,
    #[serde(default)]
    args: String,
    disk: Option<u32>,
    #[serde(default)]
    env: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    ports: Vec<String>,
    registry: Option<String>,
    category: Option<String>,
}

impl Template {
    /// Its variables as people write them.
    fn variables(&self) -> String {
        let lines: Vec<String> = self.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.join("\n")
    }

    fn is_of(&self, category: &str) -> bool {
        self.category.as_deref() == Some(category)
    }

    fn pulls_with(&self, login: &str) -> bool {
        self.registry.as_deref() == Some(login)
    }

    fn disk(&self) -> String {
        self.disk.map_or_else(String::new, |disk| disk.to_string())
    }
}

#[derive(Deserialize)]
pub(crate) struct List {
    pub(crate) templates: Vec<Template>,
}

#[derive(askama::Template)]
#[template(path = "templates.html")]
#[expect(clippy::struct_field_names, reason = "the list has the name of its page")]
pub(crate) struct Templates {
    frame: Frame,
    templates: Vec<Template>,
    /// The one that is changed, else a blank one.
    form: Template,
    /// The one that an endpoint is made of.
    deploy: Option<Template>,
    logins: Vec<String>,
}

page!(Templates: );

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Templates, Trouble> {
    let mut frame = Frame::new(visit, "/templates", "Templates", "/templates", query);
    frame.stream = None;
    frame.same.cli = vec![
        "runyard templates list".into(),
        "runyard templates create sd --image ghcr.io/me/sd:v1 --env MODE=fast".into(),
    ];
    frame.same.api = vec![
        "GET /api/v1/templates".into(),
        "POST /api/v1/templates {\"name\": …, \"image\": …}".into(),
        "POST /v2/serverless {\"name\": …, \"type\": \"QUEUE\", \"templateId\": …}".into(),
    ];
    let List { templates } = visit.get("/api/v1/templates?limit=1000").await?;
    let of = |name: &str| {
        let id = query.get(name)?;
        templates.iter().find(|template| template.id == id).cloned()
    };
    let logins = if frame.may.deploy {
        let all: Value = visit.get("/api/v1/registries?limit=1000").await?;
        let names = all["registries"].as_array().into_iter().flatten();
        names.filter_map(|login| login["name"].as_str().map(str::to_owned)).collect()
    } else {
        Vec::new()
    };
    let may = frame.may.deploy;
    Ok(Templates {
        form: of("edit").unwrap_or_default(),
        deploy: of("deploy").filter(|_| may),
        logins,
        frame,
        templates,
    })
}
