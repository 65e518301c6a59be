//! Connections and their builds as JSON.

use runyard_domain::EndpointId;
use runyard_domain::git::{Build, BuildState, Connection, Origin, Target};
use serde_json::{Value, json};

use super::Secrets;
use crate::Manage;

/// A branch or tag as people say it.
pub(crate) fn spoken(reference: &str, target: Target) -> String {
    if let Target::Preview(number) = target {
        return format!("pull request {number}");
    }
    match (reference.strip_prefix("refs/heads/"), reference.strip_prefix("refs/tags/")) {
        (Some(branch), _) => format!("branch {branch}"),
        (_, Some(tag)) => format!("tag {tag}"),
        _ => reference.to_owned(),
    }
}

/// `Build`. `serving` is the release that gets the traffic of its endpoint.
fn build(build: &Build, serving: Option<u32>) -> Value {
    let (state, why) = match &build.state {
        BuildState::Queued => ("queued", None),
        BuildState::Building => ("building", None),
        BuildState::Deployed => ("deployed", None),
        BuildState::Failed { why } => ("failed", Some(why.clone())),
        BuildState::Superseded { by } => {
            ("superseded", Some(format!("commit {} came while it waited", by.get(..8).unwrap_or(by))))
        }
    };
    let ms = build.started_at.zip(build.ended_at).map(|(start, end)| end.since(start));
    json!({
        "number": build.number,
        "commit": build.commit,
        "reference": spoken(&build.reference, build.target),
        "title": build.title,
        "author": build.author,
        "state": state,
        "why": why,
        "release": build.release,
        "serves": build.state == BuildState::Deployed && build.release.is_some() && build.release == serving,
        "queuedAt": build.queued_at.0,
        "startedAt": build.started_at.map(|t| t.0),
        "endedAt": build.ended_at.map(|t| t.0),
        "ms": ms,
        "told": build.told,
    })
}

impl Manage {
    /// `Connection`.
    pub(crate) fn connection_view(&self, connection: &Connection, secrets: &Secrets) -> Value {
        let name = |id: &EndpointId| self.inner.engine.endpoint_by_id(id).map(|e| e.name.clone());
        let base = &self.inner.info.url;
        let endpoint = name(&connection.endpoint);
        let previews = connection.previews.iter().map(|preview| {
            let endpoint = preview.endpoint.as_ref();
            json!({
                "number": preview.number,
                "branch": preview.branch,
                "endpoint": endpoint.map(EndpointId::as_str),
                "endpointName": endpoint.and_then(name),
            })
        });
        let access = match (&secrets.key, &secrets.token) {
            (Some(_), _) => "key",
            (None, Some(_)) => "token",
            (None, None) => "open",
        };
        let serving = |build: &Build| {
            let endpoint = match build.target {
                Target::Main => Some(&connection.endpoint),
                Target::Preview(number) => {
                    connection.preview(number).and_then(|preview| preview.endpoint.as_ref())
                }
            };
            self.inner.engine.endpoint_by_id(endpoint?)?.serving
        };
        let builds = connection.builds.iter().map(|one| build(one, serving(one)));
        let mut view = json!({
            "id": connection.id.as_str(),
            "endpoint": connection.endpoint.as_str(),
            "endpointName": endpoint,
            "createdAt": connection.created_at.0,
            "createdBy": connection.created_by,
            "path": connection.part.path,
            "dockerfile": connection.part.dockerfile,
            "handler": connection.part.handler,
            "env": connection.part.env,
            "secureEnv": connection.part.secure_env.keys().collect::<Vec<_>>(),
            "environment": connection.part.environment,
            "trouble": connection.trouble,
            "previews": previews.collect::<Vec<_>>(),
            "builds": builds.collect::<Vec<_>>(),
        });
        match &connection.origin {
            Origin::Pushed => {
                let name = endpoint.unwrap_or_else(|| connection.endpoint.as_str().to_owned());
                view["from"] = json!("pushed");
                view["url"] = json!(format!("{base}/git/{name}.git"));
            }
            Origin::Remote(remote) => {
                view["from"] = json!("remote");
                view["url"] = json!(remote.url);
                view["branch"] = json!(remote.branch);
                view["on"] = json!(remote.on);
                view["api"] = json!(remote.api);
                view["pollS"] = json!(remote.poll_s);
                view["pullRequests"] = json!(remote.previews);
                view["access"] = json!(access);
                view["webhook"] = json!({"url": format!("{base}/hooks/git/{}", connection.id)});
            }
        }
        view
    }
}
