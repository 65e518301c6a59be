//! API keys: who may do what, since when, and a new one.

use askama::Template;
use serde::Deserialize;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::{endpoints, page};
use crate::place::Query;
use crate::session::Visit;
use crate::views::{Key, PageUse};

/// As many keys are shown.
const MOST: usize = 5_000;

/// A key that was just made: its text is shown this once.
#[derive(Deserialize)]
pub(crate) struct Made {
    name: String,
    key: String,
    #[serde(rename = "endpointNames", default)]
    endpoints: Vec<String>,
    access: String,
    page: Option<PageUse>,
    /// Whether it opened what it is for, where that was tried.
    #[serde(skip)]
    pub(crate) tried: Option<bool>,
}

impl Made {
    pub(crate) fn text(&self) -> &str {
        &self.key
    }

    /// The first endpoint that it is for.
    pub(crate) fn endpoint(&self) -> Option<&str> {
        self.endpoints.first().map(String::as_str)
    }

    pub(crate) fn is_for_pages(&self) -> bool {
        self.page.is_some()
    }

    /// A call that it opens.
    fn try_it(&self, url: &str) -> String {
        let key = format!("-H 'Authorization: Bearer {}'", self.key);
        match self.endpoint() {
            Some(name) if self.access == "read" => format!("curl -s {key} {url}/v2/{name}/health"),
            Some(name) => format!(
                "curl -s {url}/v2/{name}/runsync {key} -H 'Content-Type: application/json' -d '{{\"input\": {{\"prompt\": \"Hello\"}}}}'"
            ),
            None => format!("curl -s {key} {url}/api/v1/info"),
        }
    }
}

#[derive(Template)]
#[template(path = "keys.html")]
#[expect(clippy::struct_field_names, reason = "the list has the name of its page")]
pub(crate) struct Keys {
    frame: Frame,
    keys: Vec<Key>,
    /// Of people who are signed in.
    sessions: Vec<Key>,
    ended: Vec<Key>,
    /// The one that is changed.
    edited: Option<Key>,
    endpoints: Vec<String>,
    /// The endpoint that a new key is for, where a page asked for one.
    chosen: String,
    made: Option<Made>,
    try_it: String,
    accesses: [(&'static str, &'static str); 4],
    operations: [&'static str; 5],
}

page!(Keys: );

/// Loads it; with a key that was just made.
pub(crate) async fn load(visit: &Visit, query: &Query, made: Option<Made>) -> Result<Keys, Trouble> {
    let mut frame = Frame::new(visit, "/keys", "Keys", "/keys", query);
    frame.stream = None;
    frame.same.cli =
        vec!["runyard keys list".into(), "runyard keys create --endpoint EP --access run".into()];
    frame.same.api =
        vec!["GET /api/v1/keys".into(), "POST /api/v1/keys {\"name\": …, \"access\": \"run\"}".into()];
    let (mut keys, _) = visit.list::<Key>("/api/v1/keys?sessions=true", "keys", MOST).await?;
    keys.sort_by_key(|key| std::cmp::Reverse(key.created_at));
    let (mut sessions, keys): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(Key::is_session);
    sessions.retain(Key::is_live);
    let edited =
        query.get("edit").and_then(|id| keys.iter().find(|key| key.id == id && key.is_live()).cloned());
    let (keys, mut ended): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(Key::is_live);
    ended.truncate(50);
    let endpoints = endpoints::every(visit).await?;
    let try_it = made.as_ref().map_or_else(String::new, |made| made.try_it(&visit.console.inner.url));
    Ok(Keys {
        frame,
        keys,
        sessions,
        ended,
        edited,
        endpoints: endpoints.into_iter().map(|endpoint| endpoint.name).collect(),
        chosen: query.get("endpoint").unwrap_or_default().to_owned(),
        made,
        try_it,
        accesses: [
            ("run", "send jobs and read their results"),
            ("read", "look, and change nothing"),
            ("deploy", "also deploy, change and remove endpoints"),
            ("admin", "everything, keys among it"),
        ],
        operations: ["run", "runsync", "status", "stream", "cancel"],
    })
}
