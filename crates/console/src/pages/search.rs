//! What the command palette finds: pages, endpoints and their tabs, jobs and workers by the beginning of their ids, keys,
//! and the other things that have names. Everything comes from the API, as the visitor: what a key may not see is not
//! found. Without scripts the same stands on a page of its own.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::call::{Trouble, encoded};
use crate::frame::Frame;
use crate::pages::pulse::Jobs;
use crate::pages::{self, endpoints, page};
use crate::place::{Query, Tab};
use crate::session::Visit;
use crate::show;
use crate::views::{Endpoint, Job};

/// The longest question, in characters.
const LONGEST: usize = 100;

/// The most that is found of a kind.
const OF_A_KIND: usize = 8;

/// The shortest beginning of an id that is looked for.
const SHORTEST_ID: usize = 3;

/// Something to go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    href: String,
    name: String,
    /// What else there is to say of it.
    about: String,
}

/// Hits of a kind.
pub(crate) struct Found {
    kind: &'static str,
    hits: Vec<Hit>,
}

fn hit(href: impl Into<String>, name: impl Into<String>, about: impl Into<String>) -> Hit {
    Hit { href: href.into(), name: name.into(), about: about.into() }
}

/// The words that are looked for, in small letters.
struct Words(Vec<String>);

impl Words {
    fn of(text: &str) -> Self {
        let text: String = text.chars().take(LONGEST).collect();
        Self(text.to_lowercase().split_whitespace().map(str::to_owned).collect())
    }

    /// Whether a text has all of them.
    fn fit(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.0.iter().all(|word| text.contains(word))
    }

    /// What may be the beginning of an id.
    fn id(&self) -> Option<&str> {
        let [word] = self.0.as_slice() else { return None };
        let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        (plain && word.len() >= SHORTEST_ID).then_some(word)
    }
}

/// What can be done on some page, and for whom: the page's address tells the right.
const ACTIONS: [(&str, &str, &str); 9] = [
    ("/keys", "/keys#new", "Create a key"),
    ("/secrets", "/secrets#set", "Set a secret"),
    ("/members", "/members#new", "Add a member"),
    ("/templates", "/templates#edit", "Create a template"),
    ("/volumes", "/volumes#new", "Create a volume"),
    ("/registries", "/registries#new", "Add a registry login"),
    ("/ssh-keys", "/ssh-keys#new", "Add an SSH key"),
    ("/disk", "/disk#prune", "Free disk space"),
    ("/activity", "/activity?action=member.sign-in", "Who signed in"),
];

/// Everything that is found, by kind.
async fn find(visit: &Visit, frame: &Frame, text: &str) -> Vec<Found> {
    let words = Words::of(text);
    let mut all = vec![Found { kind: "Pages", hits: pages_of(frame, &words) }];
    let mut put = |kind, hits: Vec<Hit>| all.push(Found { kind, hits });
    let endpoints = endpoints::every(visit).await.unwrap_or_default();
    put("Endpoints", endpoints_of(&endpoints, &words));
    if let Some(id) = words.id() {
        put("Jobs", jobs(visit, id).await);
        put("Workers", workers(visit, id).await);
    }
    if !words.0.is_empty() {
        for (kind, path, list, page, may) in [
            ("Keys", "/api/v1/keys", "keys", "/keys?edit=", frame.may.keys),
            ("Secrets", "/api/v1/secrets", "secrets", "/secrets?set=", frame.may.look),
            ("Templates", "/api/v1/templates", "templates", "/templates?edit=", frame.may.look),
            ("Volumes", "/api/v1/volumes", "networkVolumes", "/volumes?change=", frame.may.look),
            ("Members", "/api/v1/members", "members", "/members?member=", frame.may.admin),
        ] {
            if may {
                put(kind, named(visit, path, list, page, &words).await);
            }
        }
    }
    all.retain(|found| !found.hits.is_empty());
    all
}

fn pages_of(frame: &Frame, words: &Words) -> Vec<Hit> {
    let groups = frame.navigation();
    let open: Vec<(&str, &str)> = groups.iter().flat_map(|group| group.entries.iter().copied()).collect();
    let pages = open.iter().map(|(href, name)| hit(*href, *name, ""));
    let offered = |page: &str| match page {
        "/templates" | "/volumes" | "/secrets" => frame.may.deploy,
        "/registries" | "/ssh-keys" => frame.may.admin,
        page => open.iter().any(|(href, _)| *href == page),
    };
    let actions = ACTIONS.iter().filter(|(page, _, _)| offered(page));
    let actions = actions.map(|(_, href, name)| hit(*href, *name, ""));
    let all = pages.chain(actions).filter(|hit| words.fit(&hit.name));
    all.take(if words.0.is_empty() { 40 } else { OF_A_KIND }).collect()
}

/// Endpoints, and their tabs where the words name one.
fn endpoints_of(endpoints: &[Endpoint], words: &Words) -> Vec<Hit> {
    let mut hits = Vec::new();
    for endpoint in endpoints {
        let is_whole = words.fit(&endpoint.name) || words.id().is_some_and(|id| endpoint.id.starts_with(id));
        if is_whole {
            hits.push(hit(endpoint.href(), &endpoint.name, show::endpoint_state(&endpoint.state).word));
        }
        let has_some = words.0.iter().any(|word| endpoint.name.to_lowercase().contains(word));
        for tab in Tab::ALL.into_iter().skip(1).filter(|_| has_some) {
            let name = format!("{} · {}", endpoint.name, tab.name());
            // One whose name alone fits has its tabs where it is the only one.
            if (!is_whole || endpoints.len() == 1 || endpoint.name == words.0.join(" ")) && words.fit(&name) {
                hits.push(hit(tab.href(&endpoint.name), name, ""));
            }
        }
        if hits.len() >= OF_A_KIND {
            break;
        }
    }
    hits.truncate(OF_A_KIND);
    hits
}

async fn jobs(visit: &Visit, id: &str) -> Vec<Hit> {
    let as_hit = |job: &Job| {
        hit(job.href(), &job.id, format!("{} · {}", job.endpoint(), show::job_state(&job.status).word))
    };
    if let Ok(job) = visit.get::<Job>(&format!("/api/v1/jobs/{}", encoded(id))).await {
        return vec![as_hit(&job)];
    }
    // As the command line does: among the newest.
    let list = visit.get::<Jobs>("/api/v1/jobs?limit=1000").await.map(|list| list.jobs).unwrap_or_default();
    list.iter().filter(|job| job.id.to_lowercase().starts_with(id)).take(OF_A_KIND).map(as_hit).collect()
}

#[derive(Deserialize)]
struct Workers {
    workers: Vec<Worker>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Worker {
    id: String,
    state: String,
    endpoint: String,
    endpoint_name: Option<String>,
}

async fn workers(visit: &Visit, id: &str) -> Vec<Hit> {
    let list = visit.get::<Workers>("/api/v1/workers?limit=1000").await;
    let list = list.map(|list| list.workers).unwrap_or_default();
    let mut hits = Vec::new();
    for worker in list.into_iter().filter(|worker| worker.id.to_lowercase().starts_with(id)) {
        let Worker { id, state, endpoint, endpoint_name } = worker;
        let name = endpoint_name.unwrap_or_default();
        hits.push(hit(
            format!("/e/{name}/logs?worker={}", encoded(&id)),
            &id,
            format!("{name} · {state} · logs"),
        ));
        if state != "gone" && visit.may_with(runyard_domain::Access::Deploy, &endpoint) {
            let href = format!("/workers/{}/terminal", encoded(&id));
            hits.push(hit(href, &id, format!("{name} · {state} · terminal")));
        }
        if hits.len() >= OF_A_KIND {
            break;
        }
    }
    hits
}

/// Things of a list that have a name, an address or an id that fits.
async fn named(visit: &Visit, path: &str, list: &str, page: &str, words: &Words) -> Vec<Hit> {
    let Ok(all) = visit.get::<Value>(&format!("{path}?limit=1000")).await else { return Vec::new() };
    let text = |thing: &Value, field: &str| thing[field].as_str().unwrap_or_default().to_owned();
    let hits = all[list].as_array().into_iter().flatten().filter_map(|thing| {
        let (id, name, email) = (text(thing, "id"), text(thing, "name"), text(thing, "email"));
        let fits =
            words.fit(&format!("{name} {email}")) || words.id().is_some_and(|word| id.starts_with(word));
        let key = [&email, &id, &name].into_iter().find(|text| !text.is_empty())?.clone();
        let shown = if email.is_empty() { name } else { email };
        let about = if thing["state"] == "revoked" { "revoked" } else { "" };
        fits.then(|| hit(format!("{page}{}", encoded(&key)), shown, about))
    });
    hits.take(OF_A_KIND).collect()
}

/// The list in the palette.
#[derive(Template)]
#[template(path = "hits.html")]
struct Hits {
    found: Vec<Found>,
}

/// `GET /ui/search?q=`.
pub(crate) async fn hits(visit: Visit, RawQuery(query): RawQuery) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let frame = Frame::new(&visit, "", "Search", "/search", &Query::default());
    let found = find(&visit, &frame, query.get("q").unwrap_or_default()).await;
    pages::html(StatusCode::OK, Hits { found }.render())
}

#[derive(Template)]
#[template(path = "search.html")]
pub(crate) struct Search {
    frame: Frame,
    text: String,
    found: Vec<Found>,
}

page!(Search: );

/// Loads the page.
pub(crate) async fn load(visit: &Visit, query: &Query) -> Result<Search, Trouble> {
    let mut frame = Frame::new(visit, "/search", "Search", "/search", query);
    frame.stream = None;
    let text: String = query.get("q").unwrap_or_default().chars().take(LONGEST).collect();
    let found = find(visit, &frame, &text).await;
    Ok(Search { frame, text, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_have_to_fit_and_one_may_be_an_id() {
        assert!(Words::of("LLM logs").fit("llm · Logs") && !Words::of("llm x").fit("llm · Logs"));
        assert!(Words::of("").fit("anything"));
        assert_eq!(Words::of("ab12").id(), Some("ab12"));
        for none in ["ab", "ab cd", "a/b/c", ""] {
            assert_eq!(Words::of(none).id(), None, "{none}");
        }
    }
}
