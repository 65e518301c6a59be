//! Members: the people of a server, what their roles may, their keys and sessions.

use askama::Template;
use serde::Deserialize;

use crate::call::{Trouble, encoded};
use crate::frame::Frame;
use crate::pages::page;
use crate::place::Query;
use crate::session::Visit;
use crate::show::{State, Tone};
use crate::views::Key;

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    email: String,
    name: String,
    role: String,
    state: String,
    created_at: i64,
    signed_in_at: Option<i64>,
    keys: u64,
    sessions: u64,
}

impl Member {
    /// The address as a part of a query.
    fn part(&self) -> String {
        encoded(&self.email)
    }

    fn pill(&self) -> String {
        let state = match self.state.as_str() {
            "active" => State::new(Tone::Ok, "Active"),
            _ => State::new(Tone::Warn, "Disabled"),
        };
        state.pill()
    }
}

#[derive(Deserialize)]
struct List {
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

/// Each role and what it may, as `docs/access.md` has it.
const ROLES: [(&str, &str); 4] = [
    ("basic", "call endpoints; look at them, their jobs and logs"),
    ("billing", "see what is spent, and nothing of endpoints"),
    ("dev", "all of basic; make, deploy, change and remove endpoints, secrets, templates, volumes"),
    ("admin", "everything: keys of others, members, settings, the audit log, backups"),
];

#[derive(Template)]
#[template(path = "members.html")]
#[expect(clippy::struct_field_names, reason = "the list has the name of its page")]
pub(crate) struct Members {
    frame: Frame,
    members: Vec<Member>,
    roles: [(&'static str, &'static str); 4],
    /// The one that is looked at, and the keys and sessions that open something.
    chosen: Option<Member>,
    keys: Vec<Key>,
    /// A member that was added, and the key.
    made: Option<(String, String)>,
}

page!(Members: );

/// Loads it; with a member that was just added, and the key.
pub(crate) async fn load(
    visit: &Visit,
    query: &Query,
    made: Option<(String, String)>,
) -> Result<Members, Trouble> {
    let mut frame = Frame::new(visit, "/members", "Members", "/members", query);
    frame.stream = None;
    frame.same.cli =
        vec!["runyard members list".into(), "runyard members add ann@example.com --role dev".into()];
    frame.same.api =
        vec!["GET /api/v1/members".into(), "POST /api/v1/members {\"email\": …, \"role\": \"dev\"}".into()];
    let List { members } = visit.get("/api/v1/members?limit=1000").await?;
    let chosen = query.get("member").and_then(|email| members.iter().find(|one| one.email == email).cloned());
    let mut keys = Vec::new();
    if let Some(member) = &chosen {
        let path = format!("/api/v1/keys?limit=1000&sessions=true&member={}", encoded(&member.email));
        keys = visit.get::<Keys>(&path).await?.keys;
        keys.retain(Key::is_live);
    }
    Ok(Members { frame, members, roles: ROLES, chosen, keys, made })
}
