//! `git push` to this server: an endpoint is a remote at `/git/ENDPOINT.git`, and the API key is the password. What
//! Git clients say is passed to `git http-backend`; a push that ended is looked at like any other repository.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt as _;
use runyard_domain::git::{Connection, Origin, Part};
use runyard_domain::{Access, ConnectionId, Endpoint};
use runyard_git::cgi::{self, Answer, BodyPieces, Call, Service};
use runyard_vault::{Caller, Denied};
use tokio::sync::OwnedSemaphorePermit;

use crate::Manage;
use crate::problem::Problem;

/// What Git clients print of a refusal: its text, each line after `remote:`.
struct Refusal(StatusCode, String);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem.status(), problem.words())
    }
}

impl From<runyard_git::GitError> for Refusal {
    fn from(error: runyard_git::GitError) -> Self {
        Problem::from(error).into()
    }
}

/// One request of a Git client.
pub(crate) async fn serve(
    State(manage): State<Manage>,
    Path(path): Path<String>,
    request: Request,
) -> Response {
    match manage.served(&path, request).await {
        Ok(response) => response,
        Err(Refusal(status, words)) => {
            let mut response = (status, format!("{words}\n")).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            if status == StatusCode::UNAUTHORIZED {
                let ask = HeaderValue::from_static("Basic realm=\"runyard: the API key is the password\"");
                headers.insert(header::WWW_AUTHENTICATE, ask);
            }
            response
        }
    }
}

impl Manage {
    async fn served(&self, path: &str, request: Request) -> Result<Response, Refusal> {
        let caller =
            self.git_client(request.headers()).map_err(|denied| Refusal::from(Problem::from(denied)))?;
        let nothing =
            || Refusal(StatusCode::NOT_FOUND, "there is nothing for Git at this address".to_owned());
        let (name, rest) = path.split_once('/').ok_or_else(nothing)?;
        let call = Call::read(request.method(), rest, request.uri().query().unwrap_or_default());
        let call = call.ok_or_else(nothing)?;
        let name = name.strip_suffix(".git").unwrap_or(name);
        // Also to read: what was pushed is the source, perhaps with more in it than what is deployed.
        let endpoint = self.endpoint(&caller, Access::Deploy, name)?;
        let connection = self.pushed_connection(&caller, &endpoint, &call).await?;
        let pushed = self.pushed(&endpoint.id);
        if call.service == Service::Receive {
            pushed.make().await?;
            pushed.has_room()?;
        } else if !pushed.exists() {
            return Err(Refusal(StatusCode::NOT_FOUND, format!("nothing was pushed to '{name}' yet")));
        }
        let git = &self.inner.git;
        let client = git.clients.clone().acquire_owned().await.map_err(|_| nothing())?;
        let (parts, body) = request.into_parts();
        let answer = cgi::begin(&pushed, &call, &parts.headers, caller.name(), Pieces(body)).await?;
        let ended =
            Ended { manage: self.clone(), connection: connection.filter(|_| !call.asks), _client: client };
        Ok(response(answer, ended))
    }

    /// Who pushes: the key is the password, or the name where there is no other.
    fn git_client(&self, headers: &HeaderMap) -> Result<Caller, Denied> {
        let value = headers.get(header::AUTHORIZATION).ok_or(Denied::NoKey)?;
        let value = value.to_str().map_err(|_| Denied::UnknownKey)?;
        let vault = self.inner.engine.vault();
        let Some((scheme, encoded)) = value.split_once(' ') else { return vault.key_caller(value) };
        if !scheme.eq_ignore_ascii_case("basic") {
            return vault.key_caller(value);
        }
        let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or(Denied::UnknownKey)?;
        let (user, password) = decoded.split_once(':').unwrap_or((&decoded, ""));
        match vault.key_caller(password) {
            Err(Denied::NoKey | Denied::UnknownKey) => vault.key_caller(user),
            known => known,
        }
    }

    /// The endpoint's connection, made where this is its first push.
    async fn pushed_connection(
        &self,
        caller: &Caller,
        endpoint: &Endpoint,
        call: &Call,
    ) -> Result<Option<ConnectionId>, Refusal> {
        match self.connection_of(&endpoint.id)? {
            Some(Connection { id, origin: Origin::Pushed, .. }) => Ok(Some(id)),
            Some(Connection { origin: Origin::Remote(remote), .. }) => {
                let (name, url) = (&endpoint.name, &remote.url);
                let words = format!(
                    "endpoint '{name}' follows {url}: push there, or end that with 'runyard git disconnect {name}'"
                );
                Err(Refusal(StatusCode::CONFLICT, words))
            }
            None if call.service == Service::Upload || call.asks => Ok(None),
            None => Ok(Some(self.keep(caller, endpoint, Origin::Pushed, Part::default(), None).await?.id)),
        }
    }
}

/// A request's body.
struct Pieces(Body);

impl BodyPieces for Pieces {
    async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        loop {
            match self.0.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(std::io::Error::other(error))),
            }
        }
    }
}

/// Has what was pushed looked at, also where the client went away before it heard the end.
struct Ended {
    manage: Manage,
    connection: Option<ConnectionId>,
    _client: OwnedSemaphorePermit,
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(id) = &self.connection {
            self.manage.inner.git.nudge(id);
        }
    }
}

fn response(answer: Answer, ended: Ended) -> Response {
    let (status, headers) = (answer.status, answer.headers.clone());
    let body = stream::unfold((answer, ended), |(mut answer, ended)| async move {
        let piece = answer.next().await?;
        Some((piece, (answer, ended)))
    });
    (status, headers, Body::from_stream(body)).into_response()
}
