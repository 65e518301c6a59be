//! Network volumes: folders that outlive workers, and who uses them.

use askama::Template;
use serde::Deserialize;
use serde_json::Value;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::{endpoints, page};
use crate::place::Query;
use crate::session::Visit;
use crate::show;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) name: String,
    size: u64,
    data_center: String,
    used: Option<Used>,
    #[serde(skip)]
    used_by: Vec<String>,
}

/// What a volume holds.
#[derive(Debug, Clone, Deserialize)]
struct Used {
    bytes: u64,
    files: u64,
    more: bool,
}

impl Volume {
    /// What it holds, as far as that was measured.
    fn holds(&self) -> String {
        let over = |used: &Used| if used.more { "over " } else { "" };
        let said = |used: &Used| format!("{}{}", over(used), show::bytes(used.bytes));
        self.used.as_ref().map_or_else(|| "–".to_owned(), said)
    }

    fn files(&self) -> String {
        let said =
            |used: &Used| format!("{}{}", used.files, if used.files == 1 { " file" } else { " files" });
        self.used.as_ref().map_or_else(|| "not measured yet".to_owned(), said)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct List {
    pub(crate) network_volumes: Vec<Volume>,
}

#[derive(Template)]
#[template(path = "volumes.html")]
#[expect(clippy::struct_field_names, reason = "the list has the name of its page")]
pub(crate) struct Volumes {
    frame: Frame,
    volumes: Vec<Volume>,
    /// The one that is changed.
    chosen: Option<Volume>,
    centers: Vec<String>,
}

page!(Volumes: );

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Volumes, Trouble> {
    let mut frame = Frame::new(visit, "/volumes", "Volumes", "/volumes", query);
    frame.stream = None;
    frame.same.cli = vec!["runyard volumes list".into(), "runyard volumes create models --size 100".into()];
    frame.same.api = vec![
        "GET /api/v1/volumes".into(),
        "POST /api/v1/volumes {\"name\": …, \"size\": 100, \"dataCenter\": …}".into(),
    ];
    frame.same.toml = Some("[run]\nnetwork_volume = \"ID\"\n".into());
    let List { network_volumes: mut volumes } = visit.get("/api/v1/volumes?limit=1000").await?;
    let endpoints = endpoints::every(visit).await?;
    for volume in &mut volumes {
        let uses = endpoints
            .iter()
            .filter(|e| e.settings.get("network_volume").and_then(Value::as_str) == Some(&volume.id));
        volume.used_by = uses.map(|endpoint| endpoint.name.clone()).collect();
    }
    let all: Value = visit.get("/api/v1/catalog/datacenters").await?;
    let centers = all["dataCenters"].as_array().into_iter().flatten();
    let centers = centers.filter_map(|center| center["id"].as_str().map(str::to_owned)).collect();
    let chosen = query.get("change").filter(|_| frame.may.deploy);
    let chosen = chosen.and_then(|id| volumes.iter().find(|volume| volume.id == id).cloned());
    Ok(Volumes { frame, volumes, chosen, centers })
}
