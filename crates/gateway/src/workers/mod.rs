//! The worker protocol, `/w/{token}/v2/{endpoint}/…`: what RunPod's worker SDKs call. The token in the path
//! opens the routes of one incarnation; whatever `Authorization` comes along is not looked at.
//!
//! The SDK asks again at once after any error, so errors are slow here; and it drops a result after any 4xx,
//! so a result that cannot be taken gets 200 and fails its job with the reason.

pub(crate) mod access;
pub(crate) mod answer;
mod done;
mod error;
mod give_back;
mod ping;
mod slow;
mod stop;
mod take;
pub(crate) mod traceback;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get, post};
use http::{Method, StatusCode};

use crate::Gateway;
use crate::jobs::{name, request_id};
use error::WorkerError;
use slow::Slow;

/// The header that numbers the chunks of a job, so that a repeated post changes nothing. Set by the agent.
pub const CHUNK_HEADER: &str = "x-runyard-chunk";

/// The header that says when a worker began to send a result, in milliseconds since the epoch. Set by the agent.
pub const POSTED_HEADER: &str = "x-runyard-posted";

/// The header of a post that the agent makes in a worker's place: the job has no result, and the body's `error` says why.
pub const REFUSED_HEADER: &str = "x-runyard-refused";

/// The header that names the jobs of a take's answer, separated by commas; long lists take several lines.
pub const JOBS_HEADER: &str = "x-runyard-jobs";

/// The header with the numbers of their attempts, in the same order.
pub const ATTEMPTS_HEADER: &str = "x-runyard-attempts";

/// Every path of the worker protocol and what answers there.
fn table() -> Vec<(&'static str, MethodRouter<Gateway>)> {
    vec![
        ("/w/{token}/v2/{endpoint}/job-take/{worker}", get(take::one)),
        ("/w/{token}/v2/{endpoint}/job-take-batch/{worker}", get(take::batch)),
        ("/w/{token}/v2/{endpoint}/job-stop/{worker}", get(stop::stop)),
        ("/w/{token}/v2/{endpoint}/ping/{worker}", get(ping::ping)),
        ("/w/{token}/v2/{endpoint}/job-done/{worker}/{job}", post(done::done)),
        ("/w/{token}/v2/{endpoint}/job-stream/{worker}/{job}", post(done::chunk)),
        ("/w/{token}/{*rest}", any(unknown)),
        ("/agent/give-back", post(give_back::give_back)),
    ]
}

/// The routes of the worker protocol, and the one that the agent uses to return what it could not hand over
/// (`/agent/give-back`, for callers known by their socket only).
pub fn worker_routes(state: Gateway) -> Router {
    let routes =
        table().into_iter().fold(Router::new(), |routes, (path, answers)| routes.route(path, answers));
    routes
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state((state.clone(), Slow::default()), edge))
        .with_state(state)
}

/// The paths of the worker protocol, for tests that go over all of them.
pub fn worker_paths() -> Vec<&'static str> {
    table().into_iter().map(|(path, _)| path).collect()
}

async fn wrong_method(method: Method) -> WorkerError {
    WorkerError::Method(method)
}

async fn unknown() -> WorkerError {
    WorkerError::NoSuchRoute
}

/// Answers errors after a pause, and names the request in the answer.
async fn edge(State((gateway, slow)): State<(Gateway, Slow)>, request: Request, next: Next) -> Response {
    let id = request_id(&gateway, request.headers());
    let mut response = next.run(request).await;
    let timing = gateway.timing();
    if response.status() == StatusCode::UNAUTHORIZED {
        response = slow.answer(response, timing.auth_pause).await;
    } else if response.status().is_client_error() || response.status().is_server_error() {
        response = slow.answer(response, timing.error_pause).await;
    }
    name(&mut response, &id);
    response
}
