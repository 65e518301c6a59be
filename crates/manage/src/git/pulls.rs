//! Open pull requests as the forge's API lists them, for servers that no webhook reaches. A look brings those that
//! have endpoints in line with the list; which commit each of them has is for the repository to say.
//!
//! A list that did not change costs the forge nothing (`if-none-match`), and how often it is asked for follows what
//! its answers allow. A pull request that the list lacks is asked for by its number before its endpoint goes: lists
//! are cut off, and may be late.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use runyard_domain::git::{Connection, Remote};
use runyard_domain::{ConnectionId, Timestamp};
use runyard_engine::EngineError;
use runyard_git::hook::Pull;
use runyard_git::pulls::{self, Page};
use runyard_webhooks::Said;

use super::Secrets;
use super::follow::{after, until_next};
use super::pace::Pace;
use super::tell::{Project, credentials, project};
use crate::Manage;

/// How many pull requests a page has, and how many pages are read.
const PAGE: usize = 30;
const PAGES: usize = 10;

/// What is remembered of lists, by connection.
#[derive(Debug, Default)]
pub(super) struct Lists {
    known: Mutex<HashMap<ConnectionId, List>>,
    hastened: Mutex<HashSet<ConnectionId>>,
}

/// What is remembered of one list from look to look.
#[derive(Debug, Default)]
struct List {
    /// It is not asked for before this.
    next: Timestamp,
    /// The forge wants it so.
    limited: bool,
    failures: u32,
    trouble: Option<String>,
    /// By their numbers from 0, each with the tag by which the forge knows whether it changed.
    pages: BTreeMap<usize, (HeaderValue, Page)>,
}

impl Lists {
    /// Somebody asks for a look now.
    pub(super) fn hasten(&self, id: &ConnectionId) {
        locked(&self.hastened).insert(id.clone());
    }

    /// The connection is gone.
    pub(super) fn forget(&self, id: &ConnectionId) {
        locked(&self.known).remove(id);
        locked(&self.hastened).remove(id);
    }

    fn take(&self, id: &ConnectionId) -> List {
        let mut list = locked(&self.known).remove(id).unwrap_or_default();
        if locked(&self.hastened).remove(id) && !list.limited {
            list.next = Timestamp(0);
        }
        list
    }

    fn keep(&self, id: &ConnectionId, list: List) {
        locked(&self.known).insert(id.clone(), list);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why this pull request gets no endpoint, if it gets none.
pub(super) fn may_have_endpoint(remote: &Remote, pull: &Pull) -> Result<(), String> {
    if !pull.same_repository {
        return Err("it comes from a fork: somebody else's code is not run here".to_owned());
    }
    if pull.base != remote.branch {
        return Err(format!("it is for the branch {}", pull.base));
    }
    Ok(())
}

/// The list could not be read.
struct Refused {
    words: String,
    /// How long the forge wants to be left alone, where it said so.
    limited_ms: Option<i64>,
}

impl From<String> for Refused {
    fn from(words: String) -> Self {
        Self { words, limited_ms: None }
    }
}

/// What the forge says of a repository's pull requests.
struct Known {
    open: Vec<Pull>,
    /// Those with an endpoint that are closed.
    closed: Vec<u64>,
    /// The forge is left alone for so long.
    wait_ms: i64,
}

/// Whom is asked.
struct Forge {
    project: Project,
    secrets: Secrets,
}

impl Manage {
    /// Brings the pull requests that have endpoints in line with those that are open, where it is time for that.
    /// Returns what is wrong with the list since it could not be read.
    pub(super) async fn look_at_pulls(
        &self,
        connection: &Connection,
        remote: &Remote,
    ) -> Result<Option<String>, EngineError> {
        let Some(project) = project(remote).filter(|_| remote.previews) else { return Ok(None) };
        let lists = &self.inner.git.pulls;
        let mut list = lists.take(&connection.id);
        if list.next <= self.inner.engine.now() {
            let forge = Forge { project, secrets: self.secrets(connection) };
            let known = self.known_pulls(connection, remote, &forge, &mut list).await;
            self.take_in(connection, remote, &mut list, known).await?;
        }
        let trouble = list.trouble.clone();
        lists.keep(&connection.id, list);
        Ok(trouble)
    }

    /// Keeps what was heard, and when to ask again.
    async fn take_in(
        &self,
        connection: &Connection,
        remote: &Remote,
        list: &mut List,
        known: Result<Known, Refused>,
    ) -> Result<(), EngineError> {
        let wait_ms = match known {
            Ok(known) => {
                (list.failures, list.limited, list.trouble) = (0, false, None);
                self.change(&connection.id, |connection| apply(connection, remote, &known)).await?;
                known.wait_ms.max(millis(until_next(connection)))
            }
            Err(Refused { words, limited_ms }) => {
                tracing::warn!(connection.id = %connection.id, words, "pull requests cannot be read; trying again");
                list.failures = list.failures.saturating_add(1);
                list.limited = limited_ms.is_some();
                list.trouble = Some(words);
                limited_ms.unwrap_or(0).max(millis(after(list.failures)))
            }
        };
        list.next = self.inner.engine.now().plus(wait_ms);
        Ok(())
    }

    async fn known_pulls(
        &self,
        connection: &Connection,
        remote: &Remote,
        forge: &Forge,
        list: &mut List,
    ) -> Result<Known, Refused> {
        let mut known = Known { open: Vec::new(), closed: Vec::new(), wait_ms: 0 };
        for number in 0..PAGES {
            let count = self.page(remote, forge, number, list, &mut known).await?;
            if count < PAGE {
                break;
            }
        }
        let missing = connection.previews.iter().filter(|preview| !preview.closed).map(|p| p.number);
        for number in
            missing.filter(|number| !known.open.iter().any(|pull| pull.number == *number)).collect::<Vec<_>>()
        {
            if !self.is_still_open(forge, number, &mut known.wait_ms).await? {
                known.closed.push(number);
            }
        }
        Ok(known)
    }

    /// Reads one page; says how many it has.
    async fn page(
        &self,
        remote: &Remote,
        forge: &Forge,
        number: usize,
        list: &mut List,
        known: &mut Known,
    ) -> Result<usize, Refused> {
        let url = url_of_page(&forge.project, &remote.branch, number);
        let before = list.pages.remove(&number);
        let tag = before.as_ref().map(|(tag, _)| tag);
        let said = self.ask_forge(forge, &url, tag, &mut known.wait_ms).await?;
        let (tag, page) = match (said.status, before) {
            (304, Some((tag, page))) => (Some(tag), page),
            (200, _) => {
                let page = pulls::read(&said.body, forge.project.gitlab)?;
                (said.headers.get(header::ETAG).cloned(), page)
            }
            (status, _) => return Err(refusal(&url, status, forge).into()),
        };
        known.open.extend(page.pulls.iter().cloned());
        let count = page.count;
        if let Some(tag) = tag {
            list.pages.insert(number, (tag, page));
        }
        Ok(count)
    }

    async fn is_still_open(&self, forge: &Forge, number: u64, wait_ms: &mut i64) -> Result<bool, Refused> {
        let url = format!("{}/{}/{number}", forge.project.url, noun(&forge.project));
        let said = self.ask_forge(forge, &url, None, wait_ms).await?;
        match said.status {
            200 => Ok(pulls::is_open(&said.body)?),
            404 | 410 => Ok(false),
            status => Err(refusal(&url, status, forge).into()),
        }
    }

    async fn ask_forge(
        &self,
        forge: &Forge,
        url: &str,
        tag: Option<&HeaderValue>,
        wait_ms: &mut i64,
    ) -> Result<Said, Refused> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(tag.map(|tag| (header::IF_NONE_MATCH, tag.clone())));
        credentials(&mut headers, &forge.project, &forge.secrets);
        let said = self.inner.git.asker.ask(Method::GET, url, headers, Bytes::new()).await;
        let said = said.map_err(|words| format!("pull requests cannot be read: {words}"))?;
        let pace = Pace::of(said.status, &said.headers, self.inner.engine.now());
        if pace.limited {
            let token = if forge.secrets.token.is_none() {
                "; with a --token it may be asked more often"
            } else {
                ""
            };
            let words = format!(
                "pull requests cannot be read: the forge was asked too often and wants to be left alone for {} s{token}",
                pace.wait_ms / 1_000
            );
            return Err(Refused { words, limited_ms: Some(pace.wait_ms) });
        }
        *wait_ms = (*wait_ms).max(pace.wait_ms);
        Ok(said)
    }
}

/// Follows what is open, and has the endpoints of what is closed removed.
fn apply(connection: &mut Connection, remote: &Remote, known: &Known) {
    for pull in known.open.iter().filter(|pull| may_have_endpoint(remote, pull).is_ok()) {
        // One that a message closed a moment ago may be in the list still.
        if connection.preview(pull.number).is_none_or(|preview| !preview.closed) {
            connection.open_preview(pull.number, &pull.branch);
        }
    }
    for preview in connection.previews.iter_mut().filter(|p| known.closed.contains(&p.number)) {
        preview.closed = true;
    }
}

fn refusal(url: &str, status: u16, forge: &Forge) -> String {
    let may = match (status, &forge.secrets.token) {
        (401 | 403 | 404, None) => "; a private repository wants a --token that may read its pull requests",
        (401 | 403 | 404, Some(_)) => "; the token must be one that may read its pull requests",
        _ => "",
    };
    format!("pull requests cannot be read: {url} answered with {status}{may}")
}

fn noun(project: &Project) -> &'static str {
    if project.gitlab { "merge_requests" } else { "pulls" }
}

fn url_of_page(project: &Project, branch: &str, number: usize) -> String {
    let (url, noun, page) = (&project.url, noun(project), number + 1);
    let branch = encoded(branch);
    if project.gitlab {
        format!("{url}/{noun}?state=opened&target_branch={branch}&per_page={PAGE}&page={page}")
    } else if project.gitea {
        format!("{url}/{noun}?state=open&limit={PAGE}&page={page}")
    } else {
        format!("{url}/{noun}?state=open&base={branch}&per_page={PAGE}&page={page}")
    }
}

/// A value as it stands in a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

fn millis(pause: std::time::Duration) -> i64 {
    i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use runyard_domain::EndpointId;
    use runyard_domain::git::{MOST_PREVIEWS, Origin, Part, Trigger};

    use super::*;

    fn connection(api: &str) -> (Connection, Remote) {
        let remote = Remote {
            url: "https://h/me/x".into(),
            branch: "main".into(),
            on: Trigger::Push,
            released: None,
            api: Some(api.into()),
            poll_s: 60,
            previews: true,
        };
        let connection = Connection {
            id: ConnectionId::new("git_1"),
            endpoint: EndpointId::new("e"),
            created_at: Timestamp(0),
            created_by: "local".into(),
            origin: Origin::Remote(remote.clone()),
            part: Part::default(),
            secrets: None,
            previews: vec![],
            builds: vec![],
            trouble: None,
        };
        (connection, remote)
    }

    fn pull(number: u64, same_repository: bool, base: &str) -> Pull {
        let (branch, commit) = (format!("topic-{number}"), "a".repeat(40));
        Pull { number, branch, base: base.into(), commit, same_repository, closed: false }
    }

    fn known(open: Vec<Pull>, closed: Vec<u64>) -> Known {
        Known { open, closed, wait_ms: 0 }
    }

    #[test]
    fn a_list_opens_and_closes_like_messages_do() {
        let (mut it, remote) = connection("https://api.github.com");
        let open = vec![pull(7, true, "main"), pull(8, false, "main"), pull(9, true, "dev")];
        apply(&mut it, &remote, &known(open.clone(), vec![]));
        let numbers = |it: &Connection| it.previews.iter().map(|p| (p.number, p.closed)).collect::<Vec<_>>();
        assert_eq!(numbers(&it), [(7, false)], "no fork, no other branch");
        assert!(it.builds.is_empty(), "which commit it has is for the repository to say");
        apply(&mut it, &remote, &known(vec![], vec![7]));
        assert_eq!(numbers(&it), [(7, true)]);
        apply(&mut it, &remote, &known(open, vec![]));
        assert_eq!(numbers(&it), [(7, true)], "a list that is late opens nothing again");
    }

    #[test]
    fn there_are_not_endlessly_many() {
        let (mut it, remote) = connection("https://api.github.com");
        apply(&mut it, &remote, &known((1..=150).map(|number| pull(number, true, "main")).collect(), vec![]));
        assert_eq!(it.previews.len(), MOST_PREVIEWS);
    }

    #[test]
    fn each_forge_is_asked_in_its_own_way() {
        for (api, url) in [
            (
                "https://api.github.com",
                "https://api.github.com/repos/me/x/pulls?state=open&base=a%26b&per_page=30&page=1",
            ),
            ("https://h/api/v1", "https://h/api/v1/repos/me/x/pulls?state=open&limit=30&page=1"),
            (
                "https://h/api/v4",
                "https://h/api/v4/projects/me%2Fx/merge_requests?state=opened&target_branch=a%26b&per_page=30&page=1",
            ),
        ] {
            let (_, remote) = connection(api);
            let project = project(&remote).expect("a forge");
            assert_eq!(url_of_page(&project, "a&b", 0), url);
        }
    }

    #[test]
    fn who_asks_for_a_look_gets_one_unless_the_forge_forbids_it() {
        let (lists, id) = (Lists::default(), ConnectionId::new("git_1"));
        lists.keep(&id, List { next: Timestamp(9), ..List::default() });
        assert_eq!(lists.take(&id).next, Timestamp(9));
        lists.keep(&id, List { next: Timestamp(9), ..List::default() });
        lists.hasten(&id);
        assert_eq!(lists.take(&id).next, Timestamp(0));
        lists.keep(&id, List { next: Timestamp(9), limited: true, ..List::default() });
        lists.hasten(&id);
        assert_eq!(lists.take(&id).next, Timestamp(9));
    }
}
