//! Tells the forge what became of a commit, where a token allows that: GitHub's commit statuses, which Gitea and
//! Forgejo share, and GitLab's. What the forge says to that is kept with the build.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use runyard_domain::git::{Connection, Remote, Target};
use runyard_git::Address;
use serde_json::json;

use super::Secrets;
use crate::Manage;

/// The pauses between tries.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// The longest description that forges take, in characters.
const LONGEST: usize = 140;

/// A repository in its forge's API.
pub(super) struct Project {
    /// `{api}/repos/me/x`, or `{api}/projects/me%2Fx`.
    pub(super) url: String,
    /// Whether the API is GitLab's.
    pub(super) gitlab: bool,
    /// Whether it is Gitea's.
    pub(super) gitea: bool,
}

/// The repository in its forge's API, where that is known.
pub(super) fn project(remote: &Remote) -> Option<Project> {
    let api = remote.api.as_ref()?;
    let (address, _) = Address::parse(&remote.url).ok()?;
    let name = address.full_name();
    let (gitlab, gitea) = (api.ends_with("/api/v4"), api.ends_with("/api/v1"));
    let url = if gitlab {
        format!("{api}/projects/{}", name.replace('/', "%2F"))
    } else {
        format!("{api}/repos/{name}")
    };
    Some(Project { url, gitlab, gitea })
}

/// Adds the token, where there is one.
pub(super) fn credentials(headers: &mut HeaderMap, project: &Project, secrets: &Secrets) {
    let Some(token) = &secrets.token else { return };
    let (name, text) = match project {
        Project { gitlab: true, .. } => ("private-token", token.clone()),
        Project { gitea: true, .. } => ("authorization", format!("token {token}")),
        Project { .. } => ("authorization", format!("Bearer {token}")),
    };
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It is being built.
    Pending,
    /// It serves.
    Success,
    /// It does not.
    Failure,
}

impl News {
    fn word(self, gitlab: bool) -> &'static str {
        match (self, gitlab) {
            (Self::Pending, false) => "pending",
            (Self::Pending, true) => "running",
            (Self::Success, _) => "success",
            (Self::Failure, false) => "failure",
            (Self::Failure, true) => "failed",
        }
    }
}

impl Manage {
    /// Tells the forge; says what came of it, where it could be told at all.
    pub(super) async fn tell(
        &self,
        connection: &Connection,
        target: Target,
        commit: &str,
        news: News,
        words: &str,
    ) -> Option<String> {
        let remote = connection.remote()?;
        let secrets = self.secrets(connection);
        secrets.token.as_ref()?;
        let project = project(remote)?;
        let endpoint = match target {
            Target::Main => Some(&connection.endpoint),
            Target::Preview(number) => {
                connection.preview(number).and_then(|preview| preview.endpoint.as_ref())
            }
        };
        let name = endpoint.and_then(|id| self.inner.engine.endpoint_by_id(id)).map(|e| e.name.clone());
        let url = name.as_ref().map(|name| format!("{}/v2/{name}", self.inner.info.url));
        let main = self.inner.engine.endpoint_by_id(&connection.endpoint)?;
        let context = match target {
            Target::Main => format!("runyard/{}", main.name),
            Target::Preview(_) => format!("runyard/{} (preview)", main.name),
        };
        let (state, description) = (news.word(project.gitlab), shortened(words));
        let body = if project.gitlab {
            json!({"state": state, "target_url": url, "description": description, "name": context})
        } else {
            json!({"state": state, "target_url": url, "description": description, "context": context})
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        credentials(&mut headers, &project, &secrets);
        // The build does not wait long for a forge that is away.
        let pauses = if news == News::Pending { &[][..] } else { &PAUSES[..] };
        let url = format!("{}/statuses/{commit}", project.url);
        let told = self.post(&url, &headers, body.to_string(), pauses).await;
        if let Err(words) = &told {
            tracing::warn!(connection.id = %connection.id, words, "a commit status could not be written");
        }
        Some(told.unwrap_or_else(|words| format!("the commit status was not taken: {words}")))
    }

    async fn post(
        &self,
        url: &str,
        headers: &HeaderMap,
        body: String,
        pauses: &[Duration],
    ) -> Result<String, String> {
        let body = bytes::Bytes::from(body);
        let mut pauses = pauses.iter();
        loop {
            let asked = self.inner.git.asker.ask(Method::POST, url, headers.clone(), body.clone()).await;
            let (words, final_word) = match asked {
                Ok(said) if (200..300).contains(&said.status) => {
                    return Ok("commit status written".to_owned());
                }
                Ok(said) => (format!("the forge answered with {}", said.status), said.status < 500),
                Err(words) => (words, false),
            };
            match pauses.next() {
                Some(pause) if !final_word => tokio::time::sleep(*pause).await,
                _ => return Err(words),
            }
        }
    }
}

fn shortened(words: &str) -> String {
    let line = words.replace('\n', " ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use runyard_domain::git::Trigger;

    use super::*;

    fn remote(api: &str) -> Remote {
        Remote {
            url: "https://h/me/x.git".into(),
            branch: "main".into(),
            on: Trigger::Push,
            released: None,
            api: Some(api.into()),
            poll_s: 60,
            previews: false,
        }
    }

    #[test]
    fn each_forge_gets_its_own_words() {
        let secrets = Secrets { token: Some("t".into()), ..Secrets::default() };
        for (api, url, header, value) in [
            ("https://api.github.com", "https://api.github.com/repos/me/x", "authorization", "Bearer t"),
            ("https://h/api/v1", "https://h/api/v1/repos/me/x", "authorization", "token t"),
            ("https://h/api/v4", "https://h/api/v4/projects/me%2Fx", "private-token", "t"),
        ] {
            let project = project(&remote(api)).expect("a forge");
            let mut headers = HeaderMap::new();
            credentials(&mut headers, &project, &secrets);
            assert_eq!((project.url.as_str(), headers[header].to_str().ok()), (url, Some(value)), "{api}");
        }
        assert_eq!((News::Failure.word(false), News::Failure.word(true)), ("failure", "failed"));
    }

    #[test]
    fn descriptions_fit() {
        assert_eq!(shortened("a\nb"), "a b");
        assert_eq!(shortened(&"é".repeat(200)).chars().count(), LONGEST);
    }
}
