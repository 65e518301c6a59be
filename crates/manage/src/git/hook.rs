//! Messages of forges, at the address that `git connect` gave. Who sent one is known by its signature alone. It says
//! what is wanted and is answered at once; the deploy comes later.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use runyard_domain::ConnectionId;
use runyard_domain::git::{Build, Connection, MOST_PREVIEWS, Remote, Target, Trigger};
use runyard_git::hook::{self, Event, LONGEST, Named, Pull};
use serde_json::{Value, json};

use super::pulls::may_have_endpoint;
use crate::Manage;
use crate::problem::Problem;

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// It changes what is wanted, or may.
    Accepted(String),
    /// It is about something else.
    Ignored(String),
}

fn ignored(why: impl Into<String>) -> Heard {
    Heard::Ignored(why.into())
}

pub(crate) async fn receive(
    State(manage): State<Manage>,
    Path(id): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let nobody = || Problem::not_found("there is no webhook at this address");
    let id = ConnectionId::parse(&id).map_err(|_| nobody())?;
    let connection = manage.connection(&id)?.filter(|c| c.remote().is_some()).ok_or_else(nobody)?;
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LONGEST).await.map_err(|_| {
        Problem::too_large(format!("the message broke off or is larger than {} MiB", LONGEST >> 20)).hint(
            "nothing is lost: the repository is looked at in any case, at the latest when the poll is due",
        )
    })?;
    let secret = manage.secrets(&connection).webhook;
    if secret.is_empty() {
        return Err(Problem::unsigned("the webhook's secret cannot be read: connect the repository again"));
    }
    hook::verify(&parts.headers, &body, &secret).map_err(|why| Problem::unsigned(why.to_string()))?;
    let delivery = hook::delivery(&parts.headers);
    if delivery.is_some_and(|delivery| manage.inner.git.is_repeated(&id, &delivery)) {
        return Ok((StatusCode::OK, Json(json!({"ignored": "it was delivered before"}))));
    }
    let event = hook::read(&parts.headers, &body).map_err(Problem::invalid)?;
    let now = manage.inner.engine.now();
    let heard = manage.change(&id, |connection| apply(connection, event, now)).await?.ok_or_else(nobody)?;
    match heard {
        Heard::Accepted(what) => {
            manage.inner.git.nudge(&id);
            Ok((StatusCode::ACCEPTED, Json(json!({"accepted": what}))))
        }
        Heard::Ignored(why) => Ok((StatusCode::OK, Json(json!({"ignored": why})))),
    }
}

/// What a message changes.
fn apply(connection: &mut Connection, event: Event, now: runyard_domain::Timestamp) -> Heard {
    let Some(remote) = connection.remote().cloned() else { return ignored("nothing is followed") };
    match event {
        Event::Ping => Heard::Accepted("ping".to_owned()),
        Event::Push { reference, commit } => pushed(connection, &remote, &reference, commit, now),
        Event::Release { tag } if remote.on == Trigger::Release => {
            if let runyard_domain::git::Origin::Remote(remote) = &mut connection.origin {
                remote.released = Some(tag.clone());
            }
            Heard::Accepted(format!("release {tag}"))
        }
        Event::Release { .. } => ignored("releases are not followed"),
        Event::Pull(pull) => pulled(connection, &remote, &pull, now),
        Event::Other(kind) => ignored(format!("'{kind}' says nothing about what to deploy")),
    }
}

fn pushed(
    connection: &mut Connection,
    remote: &Remote,
    reference: &str,
    commit: Option<Named>,
    now: runyard_domain::Timestamp,
) -> Heard {
    if reference.starts_with("refs/tags/") {
        return match remote.on {
            // Which tag is the highest is for the repository to say.
            Trigger::Tag => Heard::Accepted(format!("push to {reference}")),
            _ => ignored("tags are not followed"),
        };
    }
    let branch = reference.strip_prefix("refs/heads/").unwrap_or_default();
    let preview = connection.previews.iter().find(|preview| preview.branch == branch);
    let target = match preview.map(|preview| preview.number) {
        _ if remote.on == Trigger::Push && branch == remote.branch => Target::Main,
        Some(number) => Target::Preview(number),
        None => return ignored(format!("{reference} is not followed")),
    };
    if let Some(commit) = commit {
        connection.want(target, &commit.id, reference, now);
        let is_it = |build: &&mut Build| build.target == target && build.commit == commit.id;
        if let Some(build) = connection.builds.iter_mut().find(is_it) {
            build.title = build.title.take().or(commit.title);
            build.author = build.author.take().or(commit.author);
        }
    }
    Heard::Accepted(format!("push to {reference}"))
}

fn pulled(
    connection: &mut Connection,
    remote: &Remote,
    pull: &Pull,
    now: runyard_domain::Timestamp,
) -> Heard {
    let number = pull.number;
    if !remote.previews {
        return ignored("pull requests are not followed");
    }
    if pull.closed {
        return match connection.previews.iter_mut().find(|preview| preview.number == number) {
            Some(preview) => {
                preview.closed = true;
                Heard::Accepted(format!("pull request {number} closed"))
            }
            None => ignored(format!("pull request {number} has no endpoint")),
        };
    }
    if let Err(why) = may_have_endpoint(remote, pull) {
        return Heard::Ignored(why);
    }
    if !connection.open_preview(number, &pull.branch) {
        return ignored(format!("{MOST_PREVIEWS} pull requests have endpoints, which is the most"));
    }
    let reference = format!("refs/heads/{}", pull.branch);
    connection.want(Target::Preview(number), &pull.commit, &reference, now);
    Heard::Accepted(format!("pull request {number}"))
}

#[cfg(test)]
mod tests {
    use runyard_domain::git::{Origin, Part};
    use runyard_domain::{EndpointId, Timestamp};

    use super::*;

    fn connection(on: Trigger) -> Connection {
        let remote = Remote {
            url: "https://h/me/x".into(),
            branch: "main".into(),
            on,
            released: None,
            api: None,
            poll_s: 0,
            previews: true,
        };
        Connection {
            id: ConnectionId::new("git_1"),
            endpoint: EndpointId::new("e"),
            created_at: Timestamp(0),
            created_by: "local".into(),
            origin: Origin::Remote(remote),
            part: Part::default(),
            secrets: None,
            previews: vec![],
            builds: vec![],
            trouble: None,
        }
    }

    fn push(reference: &str, commit: &str) -> Event {
        let commit = Named { id: commit.into(), title: Some("One".into()), author: None };
        Event::Push { reference: reference.into(), commit: Some(commit) }
    }

    fn pull(number: u64, same_repository: bool, closed: bool) -> Event {
        let (branch, base, commit) = ("topic".into(), "main".into(), format!("p{number}"));
        Event::Pull(Pull { number, branch, base, commit, same_repository, closed })
    }

    #[test]
    fn a_push_to_the_branch_is_wanted_and_others_are_not() {
        let mut it = connection(Trigger::Push);
        let heard = apply(&mut it, push("refs/heads/main", "a"), Timestamp(1));
        assert_eq!(heard, Heard::Accepted("push to refs/heads/main".into()));
        assert_eq!(it.next_build().and_then(|b| b.title.clone()).as_deref(), Some("One"));
        for other in ["refs/heads/dev", "refs/tags/v1"] {
            assert!(matches!(apply(&mut it, push(other, "b"), Timestamp(1)), Heard::Ignored(_)), "{other}");
        }
        assert_eq!(it.builds.len(), 1);
        let gone = Event::Push { reference: "refs/heads/main".into(), commit: None };
        apply(&mut it, gone, Timestamp(1));
        assert_eq!(it.builds.len(), 1);
    }

    #[test]
    fn releases_and_tags_only_have_the_repository_looked_at() {
        let mut it = connection(Trigger::Release);
        assert!(matches!(apply(&mut it, push("refs/heads/main", "a"), Timestamp(1)), Heard::Ignored(_)));
        apply(&mut it, Event::Release { tag: "v2".into() }, Timestamp(1));
        assert_eq!(it.remote().and_then(|r| r.released.clone()).as_deref(), Some("v2"));
        let mut it = connection(Trigger::Tag);
        assert!(matches!(apply(&mut it, push("refs/tags/v2", "a"), Timestamp(1)), Heard::Accepted(_)));
        assert!(it.builds.is_empty());
    }

    #[test]
    fn pull_requests_of_forks_get_nothing() {
        let mut it = connection(Trigger::Push);
        assert!(matches!(apply(&mut it, pull(7, false, false), Timestamp(1)), Heard::Ignored(_)));
        assert!(it.previews.is_empty());
        apply(&mut it, pull(7, true, false), Timestamp(1));
        apply(&mut it, push("refs/heads/topic", "q"), Timestamp(2));
        assert_eq!(it.next_build().map(|b| (b.target, b.commit.as_str())), Some((Target::Preview(7), "q")));
        apply(&mut it, pull(7, true, true), Timestamp(3));
        assert!(it.previews[0].closed);
        assert!(matches!(apply(&mut it, pull(8, true, true), Timestamp(3)), Heard::Ignored(_)));
    }
}
