//! The catalogue: what can be deployed by one form, and that form.

use askama::Template;
use serde::Deserialize;
use serde_json::Value;

use crate::call::{Trouble, encoded};
use crate::create::usual;
use crate::forms::Form;
use crate::frame::Frame;
use crate::gpus::Editor;
use crate::markdown;
use crate::pages::page;
use crate::pages::settings::{Group, groups};
use crate::place::Query;
use crate::session::Visit;
use crate::variables::{self, Row};

#[derive(Deserialize)]
struct List {
    entries: Vec<Entry>,
}

/// `CatalogEntry`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    source: String,
    problem: Option<String>,
    title: String,
    description: String,
    category: String,
    container: bool,
    gpus: Value,
    fits: bool,
    why_not: Option<String>,
    env: Vec<Variable>,
    presets: Vec<Preset>,
    remarks: Vec<String>,
    #[serde(default)]
    readme: Option<String>,
}

#[derive(Deserialize)]
struct Preset {
    name: String,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: Option<String>,
    input: Option<Input>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    label: String,
    #[serde(rename = "type")]
    kind: String,
    help: String,
    default: Option<String>,
    required: bool,
    advanced: bool,
    min: Option<f64>,
    max: Option<f64>,
    true_value: Option<String>,
    false_value: Option<String>,
    options: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    label: String,
    value: String,
}

impl Entry {
    /// What its workers need, in a few words.
    fn needs(&self) -> String {
        let gpus = crate::views::wish(&self.gpus);
        let gpus = if gpus == "0" { "no GPU".to_owned() } else { format!("GPUs: {gpus}") };
        let shape = if self.container { "a container" } else { "a process" };
        format!("{shape}, {gpus}")
    }

    /// The word that stands for a picture: nothing is loaded from elsewhere.
    fn icon(&self) -> &'static str {
        match self.category.as_str() {
            "audio" => "Audio",
            "embedding" => "Embed",
            "language" => "Text",
            "video" => "Video",
            "image" => "Image",
            _ => "Code",
        }
    }

    fn is_shipped(&self) -> bool {
        self.source == "shipped"
    }
}

#[derive(Template)]
#[template(path = "catalogue.html")]
pub(crate) struct Catalogue {
    frame: Frame,
    entries: Vec<Entry>,
    filter: String,
    all: usize,
}

page!(Catalogue: );

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Catalogue, Trouble> {
    let mut frame = Frame::new(visit, "/catalogue", "Catalogue", "/catalogue", query);
    frame.stream = None;
    frame.same.cli = vec!["runyard quick".into(), "runyard quick ENTRY --name NAME".into()];
    frame.same.api =
        vec!["GET /api/v1/catalog/entries".into(), "POST /api/v1/catalog/entries/ENTRY/deploy".into()];
    let List { mut entries } = visit.get("/api/v1/catalog/entries?limit=1000").await?;
    let (all, filter) = (entries.len(), query.get("q").unwrap_or_default().to_owned());
    let lower = filter.to_lowercase();
    let fits = |text: &str| text.to_lowercase().contains(&lower);
    entries.retain(|e| fits(&e.name) || fits(&e.title) || fits(&e.description) || fits(&e.category));
    Ok(Catalogue { frame, entries, filter, all })
}

/// A field that its deployer is asked for.
struct Asked {
    name: String,
    input: Input,
    value: String,
}

impl Asked {
    fn bounds(&self) -> String {
        match (self.input.min, self.input.max) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            (Some(min), None) => format!("{min} or more"),
            (None, Some(max)) => format!("{max} or less"),
            (None, None) => String::new(),
        }
    }

    fn is_choice(&self) -> bool {
        !self.input.options.is_empty()
    }

    fn on(&self) -> &str {
        self.input.true_value.as_deref().unwrap_or("true")
    }

    fn off(&self) -> &str {
        self.input.false_value.as_deref().unwrap_or("false")
    }
}

#[derive(Template)]
#[template(path = "entry.html")]
pub(crate) struct Page {
    frame: Frame,
    entry: Entry,
    readme: String,
    fields: Vec<Asked>,
    more: Vec<Asked>,
    fixed: Vec<(String, String)>,
    name: String,
    preset: String,
    groups: Vec<Group>,
    gpus: Editor,
    scaler: String,
    rows: Vec<Row>,
    wrong: Option<String>,
}

page!(Page: );

/// Rendered Markdown that keys and readers of a screen get through: what scrolls has the focus, and a head without words
/// is none.
fn readable(html: &str) -> String {
    html.replace("<pre>", "<pre tabindex=\"0\">").replace("<th></th>", "<td></td>")
}

/// Loads the form of an entry; with one that was refused, and why.
pub(crate) async fn entry(
    visit: &Visit,
    name: &str,
    query: &Query,
    refused: Option<(&Form, String)>,
) -> Result<Page, Trouble> {
    let path = format!("/api/v1/catalog/entries/{}", encoded(name));
    let mut entry: Entry = visit.get(&path).await?;
    let mut frame = Frame::new(visit, "/catalogue", &entry.title, &format!("/catalogue/{name}"), query);
    frame.crumbs = vec![("/catalogue".into(), "Catalogue".into())];
    frame.stream = None;
    frame.same.cli =
        vec![format!("runyard quick {name} --show"), format!("runyard quick {name} --name {name}")];
    frame.same.api =
        vec![format!("GET {path}"), format!("POST {path}/deploy {{\"name\": \"{name}\", \"env\": {{}}}}")];
    let form = refused.as_ref().map(|(form, _)| *form);
    let typed = |field: &str| form.and_then(|form| form.get(field)).map(str::to_owned);
    let (mut fields, mut more, mut fixed) = (Vec::new(), Vec::new(), Vec::new());
    for Variable { name, value, input } in std::mem::take(&mut entry.env) {
        match input {
            Some(input) => {
                let value = typed(&format!("var.{name}")).unwrap_or_default();
                let list = if input.advanced { &mut more } else { &mut fields };
                list.push(Asked { name, input, value });
            }
            None => fixed.push((name, value.unwrap_or_default())),
        }
    }
    // The GPUs are those that the entry asks for, as long as nobody says otherwise.
    let mut settings = usual();
    settings.insert("gpus".to_owned(), entry.gpus.clone());
    let readme = entry.readme.take().map(|text| readable(&markdown::render(&text))).unwrap_or_default();
    Ok(Page {
        gpus: Editor::load(visit, &entry.gpus, form).await?,
        groups: groups(typed, &settings),
        scaler: typed("scaler_type").unwrap_or_else(|| "QUEUE_DELAY".to_owned()),
        rows: variables::shown(form),
        name: typed("name").unwrap_or_else(|| name.to_owned()),
        preset: typed("preset").unwrap_or_default(),
        wrong: refused.map(|(_, why)| why),
        frame,
        entry,
        readme,
        fields,
        more,
        fixed,
    })
}
