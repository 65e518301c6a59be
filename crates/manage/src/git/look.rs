//! A look at a repository: which commit is the one that the endpoint, and each pull request's endpoint, shall have.

use http::{HeaderMap, HeaderValue, Method, header};
use runyard_domain::git::{Connection, Origin, Remote, Target, Trigger, is_valid_reference};
use runyard_git::remote::Ref;
use serde_json::Value;

use super::Secrets;
use super::tell::{credentials, project};
use crate::Manage;

/// What is wanted now.
struct Seen {
    /// Of the endpoint; `None` where there is nothing to deploy yet.
    main: Option<Ref>,
    /// Of each pull request; `None` where its branch is gone.
    previews: Vec<(u64, Option<Ref>)>,
    /// Something is missing that was there.
    trouble: Option<String>,
}

impl Manage {
    /// Looks, and keeps what is wanted.
    pub(super) async fn look(&self, connection: &Connection) -> Result<(), String> {
        let seen = match &connection.origin {
            Origin::Pushed => {
                let branches =
                    self.pushed(&connection.endpoint).branches().await.map_err(|e| e.to_string())?;
                let main = runyard_git::pushed::deployed(&branches).cloned();
                Seen { main, previews: Vec::new(), trouble: None }
            }
            Origin::Remote(remote) => {
                let trouble = self.look_at_pulls(connection, remote).await.map_err(|e| e.to_string())?;
                let current = self.connection(&connection.id).map_err(|e| e.to_string())?;
                let seen = self.look_at(current.as_ref().unwrap_or(connection), remote).await?;
                Seen { trouble: seen.trouble.or(trouble), ..seen }
            }
        };
        let now = self.inner.engine.now();
        let kept = self.change(&connection.id, |connection| {
            connection.trouble = seen.trouble;
            if let Some(main) = seen.main {
                connection.want(Target::Main, &main.commit, &main.name, now);
            }
            for (number, found) in seen.previews {
                let Some(preview) = connection.previews.iter_mut().find(|p| p.number == number) else {
                    continue;
                };
                match found {
                    Some(head) if !preview.closed => {
                        connection.want(Target::Preview(number), &head.commit, &head.name, now);
                    }
                    Some(_) => {}
                    // A message that it was closed may have been missed; its branch is gone in any case.
                    None => preview.closed = true,
                }
            }
        });
        kept.await.map(drop).map_err(|error| error.to_string())
    }

    async fn look_at(&self, connection: &Connection, remote: &Remote) -> Result<Seen, String> {
        let secrets = self.secrets(connection);
        let tag = match remote.on {
            Trigger::Release => self.released(connection, remote, &secrets).await,
            _ => None,
        };
        let mut names = match (remote.on, &tag) {
            (Trigger::Push, _) => vec![format!("refs/heads/{}", remote.branch)],
            (Trigger::Tag, _) => vec!["refs/tags/*".to_owned()],
            (Trigger::Release, tag) => tag.iter().map(|tag| format!("refs/tags/{tag}")).collect(),
        };
        names.extend(connection.previews.iter().map(|preview| format!("refs/heads/{}", preview.branch)));
        if names.is_empty() {
            return Ok(Seen { main: None, previews: Vec::new(), trouble: None });
        }
        let opened = self.remote(remote, &secrets).map_err(|error| error.to_string())?;
        let refs = opened.refs(&names).await.map_err(|error| error.to_string())?;
        let named = |name: &str| refs.iter().find(|r| r.name == name).cloned();
        let main = match remote.on {
            Trigger::Push => named(&names[0]),
            // In the order of versions.
            Trigger::Tag => refs.iter().rfind(|r| r.name.starts_with("refs/tags/")).cloned(),
            Trigger::Release => tag.as_ref().and_then(|_| named(&names[0])),
        };
        let gone = main.is_none() && remote.on == Trigger::Push;
        let previews = connection.previews.iter();
        Ok(Seen {
            previews: previews.map(|p| (p.number, named(&format!("refs/heads/{}", p.branch)))).collect(),
            trouble: gone.then(|| format!("{} has no branch '{}' any more", remote.url, remote.branch)),
            main,
        })
    }

    /// The tag of the latest release: from the forge's API where that is known, else what its messages said.
    async fn released(&self, connection: &Connection, remote: &Remote, secrets: &Secrets) -> Option<String> {
        let asked = match self.ask_released(remote, secrets).await {
            Ok(tag) => tag,
            Err(words) => {
                tracing::debug!(connection.id = %connection.id, words, "the latest release is not known");
                None
            }
        };
        asked.or_else(|| remote.released.clone())
    }

    async fn ask_released(&self, remote: &Remote, secrets: &Secrets) -> Result<Option<String>, String> {
        let Some(project) = project(remote) else { return Ok(None) };
        let url = if project.gitlab {
            format!("{}/releases/permalink/latest", project.url)
        } else {
            format!("{}/releases/latest", project.url)
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        credentials(&mut headers, &project, secrets);
        let said = self.inner.git.asker.ask(Method::GET, &url, headers, bytes::Bytes::new()).await?;
        if said.status != 200 {
            return Err(format!("{url} answered with {}", said.status));
        }
        let release: Value = serde_json::from_slice(&said.body).map_err(|error| error.to_string())?;
        let tag = release["tag_name"].as_str().filter(|tag| is_valid_reference(tag));
        Ok(tag.map(str::to_owned))
    }
}
