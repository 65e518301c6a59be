//! The page on which an endpoint is made: a folder, an image or a repository, and one form with sane defaults; beside it
//! what it would be: GPUs, cost, file and command.

use askama::Template;
use serde::Deserialize;
use serde_json::Value;

use crate::call::Trouble;
use crate::create::{From, Preview, usual};
use crate::forms::Form;
use crate::frame::Frame;
use crate::gpus::Editor;
use crate::pages::page;
use crate::pages::settings::{Group, groups};
use crate::place::Query;
use crate::session::Visit;
use crate::variables::{self, Row};

/// A login for images.
#[derive(Deserialize)]
struct Login {
    name: String,
    server: String,
}

#[derive(Deserialize)]
struct Logins {
    registries: Vec<Login>,
}

#[derive(Template)]
#[template(path = "new.html")]
pub(crate) struct New {
    frame: Frame,
    from: From,
    /// What was typed.
    typed: Form,
    groups: Vec<Group>,
    gpus: Editor,
    scaler: String,
    rows: Vec<Row>,
    logins: Vec<Login>,
    preview: Preview,
    wrong: Option<String>,
}

page!(New: );

impl New {
    fn value(&self, name: &str) -> &str {
        self.typed.get(name).unwrap_or_default()
    }

    fn is_folder(&self) -> bool {
        self.from == From::Folder
    }

    fn is_image(&self) -> bool {
        self.from == From::Image
    }

    fn is_git(&self) -> bool {
        self.from == From::Git
    }
}

/// Loads it.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<New, Trouble> {
    let mut form = Form::default();
    // A link may bring what is known already.
    for name in ["from", "name", "image", "url", "branch"] {
        if let Some(value) = query.get(name) {
            form.push(name.to_owned(), value.to_owned());
        }
    }
    build(visit, form, None).await
}

/// The page with a form that came back, and why.
pub(crate) async fn refused(visit: &Visit, form: &Form, why: Option<String>) -> Result<New, Trouble> {
    build(visit, form.clone(), why).await
}

async fn build(visit: &Visit, form: Form, wrong: Option<String>) -> Result<New, Trouble> {
    let from = From::of(form.get("from").unwrap_or_default());
    let query = Query::parse(&format!("from={}", from.word()));
    let mut frame = Frame::new(visit, "/endpoints", "New endpoint", "/endpoints/new", &query);
    frame.crumbs = vec![("/endpoints".into(), "Endpoints".into())];
    frame.stream = None;
    frame.same.api = match from {
        From::Git => {
            vec![
                "POST /api/v1/endpoints {\"name\": …}".into(),
                "POST /api/v1/endpoints/NAME/git {\"url\": …}".into(),
            ]
        }
        From::Image => vec![
            "POST /api/v1/endpoints/NAME/releases {\"container\": {\"image\": …}, \"create\": true}".into(),
        ],
        From::Folder => vec![
            "PUT /api/v1/bundles/SHA256".into(),
            "POST /api/v1/endpoints/NAME/releases {\"bundle\": …, \"create\": true}".into(),
        ],
    };
    frame.same.cli =
        vec!["runyard deploy FOLDER --name NAME".into(), "runyard git connect URL --endpoint NAME".into()];
    let usual = usual();
    let groups = groups(|name| form.get(name).map(str::to_owned), &usual);
    let wish = usual.get("gpus").cloned().unwrap_or(Value::Null);
    let gpus = Editor::load(visit, &wish, Some(&form)).await?;
    let logins = match from {
        // Who may not see the logins can still name none.
        From::Image => visit.get::<Logins>("/api/v1/registries?limit=1000").await.map(|list| list.registries),
        _ => Ok(Vec::new()),
    };
    let preview = Preview::load(visit, from, &form).await;
    Ok(New {
        scaler: form.get("scaler_type").unwrap_or("QUEUE_DELAY").to_owned(),
        rows: variables::shown(Some(&form)),
        logins: logins.unwrap_or_default(),
        typed: form,
        frame,
        from,
        groups,
        gpus,
        preview,
        wrong,
    })
}

#[derive(Template)]
#[template(path = "preview.html")]
struct Part<'a> {
    preview: &'a Preview,
}

/// What a form would make, alone.
pub(crate) fn part(preview: &Preview) -> askama::Result<String> {
    Part { preview }.render()
}
