//! Calls about connections: list, show, connect, disconnect, look now.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use runyard_domain::git::{
    Connection, Origin, Part, Remote, Target, Trigger, is_inner_path, is_valid_reference,
};
use runyard_domain::{Access, Endpoint};
use runyard_git::Address;
use runyard_vault::Caller;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Secrets;
use crate::Manage;
use crate::auth::Auth;
use crate::deploy::check_env;
use crate::page::Paging;
use crate::problem::Problem;
use crate::secrets::SecretEnv;
use crate::stream::Body;
use crate::version::{self, Versions, tagged};

/// How often a repository is looked at, in seconds, where nothing else is said.
const USUAL_POLL_S: u32 = 60;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Connect {
    url: String,
    branch: Option<String>,
    on: Trigger,
    path: Option<String>,
    dockerfile: Option<String>,
    handler: Option<String>,
    env: BTreeMap<String, String>,
    /// Secure variables of the first release; later ones keep them.
    secret_env: SecretEnv,
    /// The environment of the folder's `runyard.toml`.
    environment: Option<String>,
    user: Option<String>,
    token: Option<String>,
    deploy_key: Option<String>,
    /// The secret of the webhook, where the forge has one already.
    webhook_secret: Option<String>,
    api: Option<String>,
    poll_s: Option<u32>,
    pull_requests: bool,
    create: bool,
}

pub(crate) async fn list(
    State(manage): State<Manage>,
    auth: Auth,
    paging: Paging,
) -> Result<Json<Value>, Problem> {
    let mut all = manage.inner.engine.reader().connections()?;
    all.retain(|connection| auth.0.sees(&connection.endpoint));
    let (page, next) = paging.cut(all, |connection| connection.id.to_string())?;
    let views: Vec<Value> = page.iter().map(|c| manage.connection_view(c, &manage.secrets(c))).collect();
    Ok(Json(json!({"connections": views, "nextCursor": next})))
}

pub(crate) async fn show(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    versions: Versions,
) -> Result<Response, Problem> {
    let (_, connection) = manage.connected(&auth.0, Access::Read, &ep)?;
    let view = manage.connection_view(&connection, &manage.secrets(&connection));
    Ok(versions.show(&version::of_connection(&connection), view))
}

pub(crate) async fn connect(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    body: Body<Connect>,
) -> Result<Response, Problem> {
    let request = manage.read_to(&auth.0, Access::Deploy, &ep, body)?;
    let known = manage.inner.engine.endpoint(&ep).filter(|e| auth.0.sees(&e.id));
    let creates = known.is_none() && request.create;
    // First of all: who may not deploy here learns nothing of what else is wrong.
    if creates || request.pull_requests {
        auth.0.may(Access::Deploy, None)?;
    }
    if !creates {
        let endpoint = manage.endpoint(&auth.0, Access::Deploy, &ep)?;
        manage.refuse_second(&endpoint)?;
        if endpoint.serving.is_some() && !request.secret_env.0.is_empty() {
            let detail =
                format!("a release of '{}' serves: its secure variables stay as they are", endpoint.name);
            return Err(Problem::invalid(detail)
                .hint(format!("runyard endpoints set {} --secret-env NAME", endpoint.name)));
        }
    }
    check_env(&request.env)?;
    request.secret_env.check(request.env.keys())?;
    manage.check_references(&request.env)?;
    let (remote, secrets) = manage.remote_of(&request).await?;
    let mut part = part_of(&request)?;
    let endpoint = if creates {
        manage.create_endpoint(&auth.0, &ep, &Map::new()).await?
    } else {
        (*manage.endpoint(&auth.0, Access::Deploy, &ep)?).clone()
    };
    part.secure_env =
        manage.changed_secure(&endpoint.id, BTreeMap::new(), request.env.keys(), &request.secret_env)?;
    let connection = manage.keep(&auth.0, &endpoint, Origin::Remote(remote), part, Some(&secrets)).await?;
    let mut view = manage.connection_view(&connection, &secrets);
    view["webhook"]["secret"] = json!(secrets.webhook);
    Ok(tagged(&version::of_connection(&connection), view))
}

pub(crate) async fn disconnect(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
    versions: Versions,
) -> Result<Json<Value>, Problem> {
    let (endpoint, _) = manage.connected(&auth.0, Access::Deploy, &ep)?;
    let check = |connection: &Connection| versions.check(&version::of_connection(connection));
    let previews = manage.forget_repository(&endpoint.id, check).await?;
    Ok(Json(json!({"disconnected": true, "previewsRemoved": previews})))
}

/// Looks now, and tries the last commit again where it failed.
pub(crate) async fn sync(
    State(manage): State<Manage>,
    auth: Auth,
    Path(ep): Path<String>,
) -> Result<Json<Value>, Problem> {
    let (_, connection) = manage.connected(&auth.0, Access::Deploy, &ep)?;
    let now = manage.inner.engine.now();
    let connection = manage
        .change(&connection.id, |connection| {
            let previews: Vec<u64> = connection.previews.iter().map(|preview| preview.number).collect();
            connection.again(Target::Main, now);
            for number in previews {
                connection.again(Target::Preview(number), now);
            }
            connection.clone()
        })
        .await?
        .unwrap_or(connection);
    manage.inner.git.pulls.hasten(&connection.id);
    manage.inner.git.nudge(&connection.id);
    Ok(Json(manage.connection_view(&connection, &manage.secrets(&connection))))
}

impl Manage {
    /// The endpoint with its connection, if the caller may do this with it.
    fn connected(
        &self,
        caller: &Caller,
        access: Access,
        ep: &str,
    ) -> Result<(std::sync::Arc<Endpoint>, Connection), Problem> {
        let endpoint = self.endpoint(caller, access, ep)?;
        let connection = self.connection_of(&endpoint.id)?.ok_or_else(|| {
            Problem::not_found(format!("endpoint '{ep}' follows no repository"))
                .hint(format!("runyard git connect URL --endpoint {ep}"))
        })?;
        Ok((endpoint, connection))
    }

    fn refuse_second(&self, endpoint: &Endpoint) -> Result<(), Problem> {
        let Some(other) = self.connection_of(&endpoint.id)? else { return Ok(()) };
        let what = other.remote().map_or("what is pushed to it", |remote| remote.url.as_str());
        Err(Problem::conflict(format!("endpoint '{}' follows {what} already", endpoint.name))
            .hint(format!("runyard git disconnect {}", endpoint.name)))
    }

    /// Keeps a new connection and has it looked at.
    pub(crate) async fn keep(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        origin: Origin,
        part: Part,
        secrets: Option<&Secrets>,
    ) -> Result<Connection, Problem> {
        let engine = &self.inner.engine;
        let _held = self.inner.git.hold().await;
        self.refuse_second(endpoint)?;
        let connection = Connection {
            id: engine.env().connection_id(),
            endpoint: endpoint.id.clone(),
            created_at: engine.now(),
            created_by: caller.name().to_owned(),
            origin,
            part,
            secrets: secrets.map(|secrets| self.seal(secrets)).transpose()?,
            previews: Vec::new(),
            builds: Vec::new(),
            trouble: None,
        };
        engine.put_connection(connection.clone()).await?;
        self.inner.git.nudge(&connection.id);
        Ok(connection)
    }

    /// The repository that is asked for, read once: what is wrong with it is said now.
    async fn remote_of(&self, request: &Connect) -> Result<(Remote, Secrets), Problem> {
        let (address, inside) = Address::parse(&request.url)?;
        let webhook = match &request.webhook_secret {
            Some(secret) if secret.len() < 16 => {
                return Err(Problem::invalid("a webhook's secret has at least 16 characters"));
            }
            Some(secret) => secret.clone(),
            None => self.inner.engine.env().token(40),
        };
        let (mut user, mut token) = (request.user.clone(), request.token.clone());
        if let Some((name, password)) = inside.filter(|_| token.is_none()) {
            user = user.or(Some(name).filter(|name| !name.is_empty()));
            token = Some(password);
        }
        let odd = |text: &String| text.chars().any(char::is_control);
        if user.as_ref().is_some_and(|user| odd(user) || user.contains(':'))
            || token.as_ref().is_some_and(odd)
        {
            return Err(Problem::invalid("a user or token holds characters that cannot be sent"));
        }
        let secrets = Secrets { webhook, user, token, key: request.deploy_key.clone() };
        check_access(&address, &secrets)?;
        let api = request.api.clone().or_else(|| address.api());
        let mut remote = Remote {
            url: address.url(),
            branch: request.branch.clone().unwrap_or_default(),
            on: request.on,
            released: None,
            api: api.map(|api| api.trim_end_matches('/').to_owned()),
            poll_s: poll(request.poll_s)?,
            previews: request.pull_requests,
        };
        let opened = self.remote(&remote, &secrets)?;
        if remote.branch.is_empty() {
            remote.branch = opened.default_branch().await?.ok_or_else(|| {
                Problem::invalid(format!("{} has no branch yet", remote.url))
                    .hint("push a commit, or name a --branch")
            })?;
        } else if !is_valid_reference(&remote.branch) {
            return Err(Problem::invalid("this cannot be the name of a branch"));
        }
        let branch = format!("refs/heads/{}", remote.branch);
        if remote.on == Trigger::Push && opened.refs(&[branch]).await?.is_empty() {
            let detail = format!("{} has no branch '{}'", remote.url, remote.branch);
            return Err(Problem::invalid(detail).hint("push it first, or name another --branch"));
        }
        Ok((remote, secrets))
    }
}

/// A token goes with `http:`, a key with `ssh:`.
fn check_access(address: &Address, secrets: &Secrets) -> Result<(), Problem> {
    let ssh = address.scheme == runyard_git::address::Scheme::Ssh;
    match (&secrets.key, ssh) {
        (Some(_), false) => Err(Problem::invalid(
            "a deploy key opens repositories over ssh: write the address as git@HOST:OWNER/REPO",
        )),
        (Some(key), true) if !key.contains("PRIVATE KEY-----") || key.len() > 32_768 => {
            Err(Problem::invalid(
                "the deploy key is no private key: it begins with -----BEGIN OPENSSH PRIVATE KEY-----",
            ))
        }
        _ => Ok(()),
    }
}

fn poll(given: Option<u32>) -> Result<u32, Problem> {
    match given.unwrap_or(USUAL_POLL_S) {
        fine @ 0..=86_400 => Ok(fine),
        other => {
            Err(Problem::invalid(format!("pollS is {other}: it must be 1 to 86400 seconds, or 0 for never")))
        }
    }
}

fn part_of(request: &Connect) -> Result<Part, Problem> {
    for (name, value) in
        [("path", &request.path), ("dockerfile", &request.dockerfile), ("handler", &request.handler)]
    {
        if value.as_ref().is_some_and(|value| !is_inner_path(value)) {
            let detail = format!("'{name}' must stay below the repository's root: write it as services/t2i");
            return Err(Problem::invalid(detail));
        }
    }
    let Connect { path, dockerfile, handler, env, environment, .. } = request;
    let odd = |name: &String| name.is_empty() || name.len() > 200 || name.chars().any(char::is_control);
    if environment.as_ref().is_some_and(odd) {
        return Err(Problem::invalid("'environment' is the NAME of [env.NAME] in the folder's runyard.toml"));
    }
    Ok(Part {
        environment: environment.clone(),
        path: path.clone(),
        dockerfile: dockerfile.clone(),
        handler: handler.clone(),
        env: env.clone(),
        secure_env: BTreeMap::new(),
    })
}
