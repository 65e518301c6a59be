//! API keys: who may do what, since when, and a new one.

use askama::Template;
use serde::Deserialize;

use crate::call::Trouble;
use crate::frame::Frame;
use crate::pages::page;
use crate::place::Query;
use crate::session::Visit;
use crate::views::{Endpoint, Key};

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
}

#[derive(Template)]
#[template(path = "keys.html")]
#[expect(clippy::struct_field_names, reason = "the list has the name of its page")]
pub(crate) struct Keys {
    frame: Frame,
    keys: Vec<Key>,
    ended: Vec<Key>,
    endpoints: Vec<String>,
    /// The endpoint that a new key is for, where a page asked for one.
    chosen: String,
    made: Option<Made>,
    try_it: String,
    accesses: [(&'static str, &'static str); 4],
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
    let (mut keys, _) = visit.list::<Key>("/api/v1/keys", "keys", MOST).await?;
    keys.sort_by_key(|key| std::cmp::Reverse(key.created_at));
    let (keys, mut ended): (Vec<Key>, Vec<Key>) = keys.into_iter().partition(Key::is_live);
    ended.truncate(50);
    let (endpoints, _) = visit.list::<Endpoint>("/api/v1/endpoints", "endpoints", MOST).await?;
    let url = &visit.console.inner.url;
    let try_it = made.as_ref().map_or_else(String::new, |made| {
        let call = match made.endpoints.first() {
            Some(name) => format!("{url}/v2/{name}/health"),
            None => format!("{url}/api/v1/info"),
        };
        format!("curl -s -H 'Authorization: Bearer {}' {call}", made.key)
    });
    Ok(Keys {
        frame,
        keys,
        ended,
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
    })
}
