//! The control socket: what the server asks of the agent, as `runyard_runtime::wire` describes. Only the
//! agent's own user, and only who can read `run/agent.key`: a worker can do the first, not the second.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use runyard_domain::WorkerId;
use runyard_runtime::wire::{Ending, Fault, Info, KEY_HEADER, SERVER_HEADER, Started};
use runyard_runtime::{RuntimeError, Whose, WorkerSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};

use crate::agent::Agent;
use crate::events::Stream;
use crate::worker::locked;
use crate::{exec, spawn, stats};

type ControlBody = Either<Full<Bytes>, Either<Stream, exec::Answer>>;

/// Serves the server as long as the agent lives.
pub async fn serve(agent: Arc<Agent>, listener: UnixListener) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "A control connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        if !is_ours(&stream) {
            continue;
        }
        let agent = Arc::clone(&agent);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let agent = Arc::clone(&agent);
                async move { Ok::<_, Infallible>(answer(&agent, request).await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn answer(agent: &Arc<Agent>, request: Request<Incoming>) -> Response<ControlBody> {
    let key = request.headers().get(KEY_HEADER).map(http::HeaderValue::as_bytes);
    if key != Some(agent.key.as_bytes()) {
        let refused = error("use the control socket", "the key is not the one in run/agent.key", Whose::Ours);
        return fault(StatusCode::FORBIDDEN, refused);
    }
    let (parts, body) = request.into_parts();
    let server = parts.headers.get(SERVER_HEADER);
    agent.upstream.seen(server);
    let path = parts.uri.path().to_owned();
    let steps: Vec<&str> = path.split('/').skip(1).collect();
    match (&parts.method, steps.as_slice()) {
        (&Method::GET, ["info"]) => json(&info(agent)),
        (&Method::GET, ["workers"]) => {
            agent.upstream.looked_at_by(server);
            json(&agent.list())
        }
        (&Method::GET, ["events"]) => {
            let mut response = Response::new(Either::Right(Either::Left(agent.events.subscribe())));
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/x-ndjson"));
            response
        }
        (&Method::POST, ["workers"]) => match read::<WorkerSpec>(body).await {
            Ok(spec) => result(spawn::start(agent, spec).map(|pid| Started { pid })),
            Err(error) => fault(StatusCode::BAD_REQUEST, error),
        },
        (&Method::POST, ["workers", id, "stop"]) => match read::<Ending>(body).await {
            Ok(ending) => {
                stop(agent, &WorkerId::new(*id), ending);
                json(&())
            }
            Err(error) => fault(StatusCode::BAD_REQUEST, error),
        },
        (&Method::POST, ["workers", id, "exec"]) => match exec::open(agent, id, body).await {
            Ok(frames) => Response::new(Either::Right(Either::Right(frames))),
            Err(error) => fault(StatusCode::CONFLICT, error),
        },
        (&Method::GET, ["stats"]) => json(&stats::measure(agent).await),
        (&Method::DELETE, ["workers", id]) => result(forget(agent, id).await),
        (&Method::POST, ["shutdown"]) => {
            agent.end();
            agent.wait_until_gone().await;
            json(&())
        }
        _ => {
            let operation = format!("{} {path}", parts.method);
            fault(StatusCode::NOT_FOUND, error(&operation, "this agent does not know that", Whose::Ours))
        }
    }
}

fn info(agent: &Agent) -> Info {
    Info {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        worker_url: agent.worker_url.clone(),
        boundary: agent.boundary.line(),
    }
}

fn stop(agent: &Agent, id: &WorkerId, ending: Ending) {
    let Some(worker) = locked(&agent.table).get(id) else { return };
    match ending {
        Ending::Term => worker.terminate(),
        Ending::Kill => worker.kill(),
    }
}

async fn forget(agent: &Agent, id: &str) -> Result<(), RuntimeError> {
    let operation = format!("forget worker {id}");
    let id = WorkerId::parse(id).map_err(|invalid| error(&operation, &invalid.to_string(), Whose::Ours))?;
    let worker = locked(&agent.table).get(&id);
    if let Some(worker) = worker {
        if !worker.has_ended() {
            return Err(error(&operation, "it still runs", Whose::Ours));
        }
        locked(&agent.table).remove(&worker);
    }
    let work = agent.options.paths.work().join(id.as_str());
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(work)).await;
    match removed {
        Ok(Err(cause)) if cause.kind() != std::io::ErrorKind::NotFound => {
            let message = format!("cannot remove its working directory: {cause}");
            Err(error(&operation, &message, Whose::Engine))
        }
        _ => Ok(()),
    }
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, RuntimeError> {
    let failed = |message: String| error("read the request", &message, Whose::Ours);
    let bytes = body.collect().await.map_err(|error| failed(error.to_string()))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
}

fn error(operation: &str, message: &str, whose: Whose) -> RuntimeError {
    RuntimeError { operation: operation.to_owned(), message: message.to_owned(), whose, retryable: false }
}

fn result<T: Serialize>(result: Result<T, RuntimeError>) -> Response<ControlBody> {
    match result {
        Ok(value) => json(&value),
        Err(error) => fault(StatusCode::CONFLICT, error),
    }
}

fn fault(status: StatusCode, error: RuntimeError) -> Response<ControlBody> {
    let mut response = json(&Fault::from(error));
    *response.status_mut() = status;
    response
}

fn json(value: &impl Serialize) -> Response<ControlBody> {
    let Ok(bytes) = serde_json::to_vec(value) else {
        let mut response = Response::new(Either::Left(Full::default()));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(bytes))));
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
