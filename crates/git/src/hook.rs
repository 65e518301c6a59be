//! Messages of forges about their repositories: who sent them, and what they say. GitHub's shape, which Gitea and
//! Forgejo share, and GitLab's. A message only says that something is new: what is deployed is looked up in the
//! repository itself.

use hmac::{Hmac, Mac as _};
use http::HeaderMap;
use runyard_domain::git::{is_commit_id, is_valid_reference};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;

/// The longest message that is read, in bytes.
pub const LONGEST: usize = 4 << 20;

/// A commit as a message names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its hash.
    pub id: String,
    /// The first line about it.
    pub title: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
}

/// A pull request, or a merge request as GitLab calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Its number.
    pub number: u64,
    /// Its branch.
    pub branch: String,
    /// The branch that it is for.
    pub base: String,
    /// Its newest commit.
    pub commit: String,
    /// Whether its branch is in the same repository: a fork is somebody else's code.
    pub same_repository: bool,
    /// Whether it was closed or merged.
    pub closed: bool,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// That it could be sent.
    Ping,
    /// Something was pushed.
    Push {
        /// To what: `refs/heads/main`, `refs/tags/v1`.
        reference: String,
        /// The commit that it leads to now; `None` where it was removed.
        commit: Option<Named>,
    },
    /// A release was published.
    Release {
        /// Its tag.
        tag: String,
    },
    /// Something about a pull request.
    Pull(Pull),
    /// Something else.
    Other(String),
}

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// It has no signature.
    #[error("the message is not signed: give the forge the webhook's secret")]
    Missing,
    /// Its signature is another's.
    #[error("the message's signature is not that of the webhook's secret")]
    Wrong,
}

/// Checks that whoever sent the message knows the secret.
pub fn verify(headers: &HeaderMap, body: &[u8], secret: &str) -> Result<(), Unsigned> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(signature) = text("x-hub-signature-256") {
        return signed(signature.strip_prefix("sha256=").unwrap_or_default(), body, secret);
    }
    if let Some(signature) = text("x-gitea-signature").or_else(|| text("x-gogs-signature")) {
        return signed(signature, body, secret);
    }
    // GitLab sends the secret itself. The hashes are compared, so that no time tells how much of it was right.
    let token = text("x-gitlab-token").ok_or(Unsigned::Missing)?;
    let tag = |text: &str| mac(secret).chain_update(text).finalize();
    if tag(token) == tag(secret) { Ok(()) } else { Err(Unsigned::Wrong) }
}

fn mac(secret: &str) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length")
}

fn signed(signature: &str, body: &[u8], secret: &str) -> Result<(), Unsigned> {
    let bytes = unhex(signature).ok_or(Unsigned::Wrong)?;
    mac(secret).chain_update(body).verify_slice(&bytes).map_err(|_| Unsigned::Wrong)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?) as u8)).collect()
}

/// What tells repetitions of a message apart from new ones.
pub fn delivery(headers: &HeaderMap) -> Option<String> {
    let names = ["x-github-delivery", "x-gitea-delivery", "x-gitlab-event-uuid", "idempotency-key"];
    let found = names.iter().find_map(|name| headers.get(*name)?.to_str().ok());
    found.filter(|id| !id.is_empty() && id.len() <= 200).map(str::to_owned)
}

/// Reads a message that was checked.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Event, String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = text("content-type").starts_with("application/x-www-form-urlencoded");
    let decoded =
        if form { form_payload(body).ok_or("the form has no field 'payload'")? } else { body.to_vec() };
    let said: Value =
        serde_json::from_slice(&decoded).map_err(|error| format!("the body is not JSON: {error}"))?;
    let names = ["x-github-event", "x-gitea-event", "x-gogs-event"];
    let kind = names.iter().map(|name| text(name)).find(|kind| !kind.is_empty());
    match kind.or_else(|| said["object_kind"].as_str()) {
        Some("ping") => Ok(Event::Ping),
        Some("push" | "tag_push") => push(said),
        Some("release") => Ok(release(&said)),
        Some("pull_request") => Ok(pull(said)),
        Some("merge_request") => Ok(merge(&said)),
        Some(other) => Ok(Event::Other(other.chars().take(60).collect())),
        None => Err("neither a header nor the body says what kind of event it is".to_owned()),
    }
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    after: String,
    #[serde(default)]
    checkout_sha: Option<String>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    head_commit: Option<HeadCommit>,
    #[serde(default)]
    commits: Vec<HeadCommit>,
}

#[derive(Deserialize)]
struct HeadCommit {
    id: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    author: Option<Author>,
}

#[derive(Deserialize)]
struct Author {
    #[serde(default)]
    name: String,
}

fn push(said: Value) -> Result<Event, String> {
    let push: Push =
        serde_json::from_value(said).map_err(|error| format!("the push cannot be read: {error}"))?;
    let known =
        push.reference.strip_prefix("refs/heads/").or_else(|| push.reference.strip_prefix("refs/tags/"));
    if !known.is_some_and(is_valid_reference) {
        return Ok(Event::Other("push".to_owned()));
    }
    // `after` of a tag can be the tag's own object; what it leads to is `head_commit` or `checkout_sha`.
    let head = push.head_commit.or_else(|| push.commits.into_iter().find(|commit| commit.id == push.after));
    let id = head.as_ref().map(|head| head.id.clone()).or(push.checkout_sha).unwrap_or(push.after);
    let there = !push.deleted && is_commit_id(&id) && id.bytes().any(|b| b != b'0');
    let line = |text: &str| -> Option<String> {
        let line = text.lines().next().unwrap_or_default();
        let plain: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
        (!plain.is_empty()).then_some(plain)
    };
    let title = head.as_ref().and_then(|head| line(&head.message));
    let author = head.and_then(|head| line(&head.author?.name));
    let commit = there.then_some(Named { id, title, author });
    Ok(Event::Push { reference: push.reference, commit })
}

fn release(said: &Value) -> Event {
    let published = matches!(said["action"].as_str(), Some("published" | "released" | "create"));
    let of_gitlab = said["tag"].as_str();
    let tag = said["release"]["tag_name"].as_str().or(of_gitlab).unwrap_or_default();
    let early = ["draft", "prerelease"].iter().any(|name| said["release"][name] == true);
    if published && !early && is_valid_reference(tag) {
        return Event::Release { tag: tag.to_owned() };
    }
    Event::Other("release".to_owned())
}

#[derive(Deserialize)]
struct PullMessage {
    action: String,
    number: u64,
    pull_request: PullRequest,
}

/// What GitHub, Gitea and Forgejo say of a pull request, in messages and in lists.
#[derive(Deserialize)]
pub(crate) struct PullRequest {
    head: Side,
    base: Side,
}

#[derive(Deserialize)]
struct Side {
    #[serde(rename = "ref")]
    reference: String,
    sha: String,
    #[serde(default)]
    repo: Option<Repository>,
}

#[derive(Deserialize, PartialEq)]
struct Repository {
    full_name: String,
}

fn pull(said: Value) -> Event {
    let other = || Event::Other("pull_request".to_owned());
    let Ok(PullMessage { action, number, pull_request }) = serde_json::from_value(said) else {
        return other();
    };
    let closed = match action.as_str() {
        "opened" | "reopened" | "synchronize" | "synchronized" => false,
        "closed" => true,
        _ => return other(),
    };
    pull_request.pull(number, closed).map_or_else(other, Event::Pull)
}

impl PullRequest {
    /// The same in our words, where its names are ones that Git could have.
    pub(crate) fn pull(self, number: u64, closed: bool) -> Option<Pull> {
        let Self { head, base } = self;
        let same_repository = head.repo.is_some() && head.repo == base.repo;
        checked(Pull {
            number,
            branch: head.reference,
            base: base.reference,
            commit: head.sha,
            same_repository,
            closed,
        })
    }
}

fn merge(said: &Value) -> Event {
    let other = || Event::Other("merge_request".to_owned());
    let about = &said["object_attributes"];
    let text = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
    let closed = match text("action").as_str() {
        "open" | "reopen" | "update" => false,
        "close" | "merge" => true,
        _ => return other(),
    };
    let same =
        about["source_project_id"].is_u64() && about["source_project_id"] == about["target_project_id"];
    let pull = Pull {
        number: about["iid"].as_u64().unwrap_or(0),
        branch: text("source_branch"),
        base: text("target_branch"),
        commit: about["last_commit"]["id"].as_str().unwrap_or_default().to_owned(),
        same_repository: same,
        closed,
    };
    checked(pull).map_or_else(other, Event::Pull)
}

/// A pull request whose names are ones that Git could have.
pub(crate) fn checked(pull: Pull) -> Option<Pull> {
    let fine = pull.number > 0
        && is_valid_reference(&pull.branch)
        && is_valid_reference(&pull.base)
        && is_commit_id(&pull.commit);
    fine.then_some(pull)
}

/// The field `payload` of a form.
fn form_payload(body: &[u8]) -> Option<Vec<u8>> {
    let value = body.split(|b| *b == b'&').find_map(|field| field.strip_prefix(b"payload="))?;
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let pair = [*bytes.next()?, *bytes.next()?];
                out.extend(unhex(std::str::from_utf8(&pair).ok()?)?);
            }
            byte => out.push(*byte),
        }
    }
    Some(out)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use http::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    const SHA: &str = "6dcb09b5b57875f334f61aebed695e2e4193db5e";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn heard(event: (&'static str, &str), said: &Value) -> Event {
        read(&headers(&[event]), said.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn githubs_example_is_signed_as_it_says() {
        let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
        let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let of = |name, value: &str| verify(&headers(&[(name, value)]), body, secret);
        assert_eq!(of("x-hub-signature-256", &format!("sha256={hex}")), Ok(()));
        assert_eq!(of("x-gitea-signature", hex), Ok(()));
        assert_eq!(of("x-gitlab-token", secret), Ok(()));
        assert_eq!(of("x-gitlab-token", "It's"), Err(Unsigned::Wrong));
        for wrong in ["", "sha256=", "sha256=zz", &format!("sha256={}", &hex[2..]), &format!("sha1={hex}")] {
            assert_eq!(of("x-hub-signature-256", wrong), Err(Unsigned::Wrong), "{wrong}");
        }
        let changed =
            verify(&headers(&[("x-hub-signature-256", &format!("sha256={hex}"))]), b"Hello", secret);
        assert_eq!(changed, Err(Unsigned::Wrong));
        assert_eq!(verify(&HeaderMap::new(), body, secret), Err(Unsigned::Missing));
        // A wrong signature is not made good by a right token beside it.
        let both = headers(&[("x-hub-signature-256", "sha256=00"), ("x-gitlab-token", secret)]);
        assert_eq!(verify(&both, body, secret), Err(Unsigned::Wrong));
    }

    #[test]
    fn pushes_are_read_in_every_dialect() {
        let named = |title: Option<&str>, author: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            Some(Named { id: SHA.into(), title: own(title), author: own(author) })
        };
        let github = json!({
            "ref": "refs/heads/main", "before": "0", "after": SHA, "deleted": false,
            "head_commit": {"id": SHA, "message": "One\n\ntwo", "author": {"name": "Ann"}},
        });
        let main = |commit| Event::Push { reference: "refs/heads/main".into(), commit };
        assert_eq!(heard(("x-github-event", "push"), &github), main(named(Some("One"), Some("Ann"))));
        assert_eq!(heard(("x-gitea-event", "push"), &github), main(named(Some("One"), Some("Ann"))));
        let gitlab = json!({
            "object_kind": "push", "ref": "refs/heads/main", "after": SHA, "checkout_sha": SHA,
            "commits": [{"id": SHA, "message": "One", "author": {"name": "Ann"}}],
        });
        assert_eq!(heard(("x-gitlab-event", "Push Hook"), &gitlab), main(named(Some("One"), Some("Ann"))));
        let gone = json!({"ref": "refs/heads/main", "after": "0".repeat(40), "deleted": true});
        assert_eq!(heard(("x-github-event", "push"), &gone), main(None));
        let tag = json!({"ref": "refs/tags/v1", "after": "f".repeat(40), "head_commit": {"id": SHA}});
        let expected = Event::Push { reference: "refs/tags/v1".into(), commit: named(None, None) };
        assert_eq!(heard(("x-github-event", "push"), &tag), expected);
        let trick = json!({"ref": "refs/heads/--upload-pack=x", "after": SHA});
        assert_eq!(heard(("x-github-event", "push"), &trick), Event::Other("push".into()));
    }

    #[test]
    fn releases_and_pull_requests_are_read() {
        let release = |action: &str, draft: bool| {
            let said = json!({"action": action, "release": {"tag_name": "v2", "draft": draft}});
            heard(("x-github-event", "release"), &said)
        };
        assert_eq!(release("published", false), Event::Release { tag: "v2".into() });
        assert_eq!(release("published", true), Event::Other("release".into()));
        assert_eq!(release("deleted", false), Event::Other("release".into()));
        let side = |name: &str, repo: &str| json!({"ref": name, "sha": SHA, "repo": {"full_name": repo}});
        let pull = |action: &str, from: &str| {
            let said = json!({
                "action": action, "number": 7,
                "pull_request": {"head": side("topic", from), "base": side("main", "me/x")},
            });
            match heard(("x-github-event", "pull_request"), &said) {
                Event::Pull(pull) => Some((pull.number, pull.same_repository, pull.closed)),
                _ => None,
            }
        };
        assert_eq!(pull("opened", "me/x"), Some((7, true, false)));
        assert_eq!(pull("synchronize", "you/x"), Some((7, false, false)));
        assert_eq!(pull("closed", "me/x"), Some((7, true, true)));
        assert_eq!(pull("labeled", "me/x"), None);
        let merge = json!({"object_kind": "merge_request", "object_attributes": {
            "iid": 3, "action": "open", "source_branch": "topic", "target_branch": "main",
            "source_project_id": 1, "target_project_id": 1, "last_commit": {"id": SHA},
        }});
        let expected = Pull {
            number: 3,
            branch: "topic".into(),
            base: "main".into(),
            commit: SHA.into(),
            same_repository: true,
            closed: false,
        };
        assert_eq!(heard(("x-gitlab-event", "Merge Request Hook"), &merge), Event::Pull(expected));
    }

    #[test]
    fn forms_and_odd_bodies_are_read_or_refused() {
        let form =
            headers(&[("content-type", "application/x-www-form-urlencoded"), ("x-github-event", "ping")]);
        assert_eq!(read(&form, b"payload=%7B%22zen%22%3A%22a+b%22%7D"), Ok(Event::Ping));
        assert!(read(&form, b"nothing=1").is_err());
        assert!(read(&HeaderMap::new(), b"{}").is_err());
        assert!(read(&headers(&[("x-github-event", "push")]), b"{").unwrap_err().contains("not JSON"));
        assert_eq!(delivery(&headers(&[("x-github-delivery", "1-2")])).as_deref(), Some("1-2"));
        assert_eq!(delivery(&HeaderMap::new()), None);
    }
}
