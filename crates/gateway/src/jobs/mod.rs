//! The job API, `/v2/{endpoint}/…`: what clients call. Success is always 200; errors are JSON with `error`,
//! `code` and `requestId`; every answer carries the CORS headers and `x-request-id` ([`edge`]).

mod access;
mod batch;
mod batch_body;
mod batch_view;
mod control;
mod edge;
mod error;
mod events;
mod health;
mod openai;
pub(crate) mod query;
pub(crate) mod request;
mod status;
mod stream;
pub(crate) mod submit;
pub(crate) mod worker_error;

pub use access::is_local_request;

pub(crate) use edge::{name, request_id};
pub(crate) use stream::Notings;

use std::future::{Ready, ready};

use axum::routing::{MethodRouter, any, delete, get, post};
use axum::{Router, middleware};

use crate::Gateway;
use error::JobError;

/// Every path of the job API and what answers there.
fn table() -> Vec<(&'static str, MethodRouter<Gateway>)> {
    let both = |route: MethodRouter<Gateway>| route.fallback(|| refused("GET and POST"));
    let gets = |route: MethodRouter<Gateway>| route.fallback(|| refused("GET"));
    let posts = |route: MethodRouter<Gateway>| route.fallback(|| refused("POST"));
    vec![
        ("/v2/{endpoint}/run", posts(post(submit::run))),
        ("/v2/{endpoint}/runsync", posts(post(submit::runsync))),
        ("/v2/{endpoint}/status/{job}", both(get(status::status).post(status::status))),
        ("/v2/{endpoint}/status-sync/{job}", both(get(status::status_sync).post(status::status_sync))),
        ("/v2/{endpoint}/stream/{job}", both(get(stream::stream).post(stream::stream))),
        ("/v2/{endpoint}/cancel/{job}", posts(post(control::cancel))),
        ("/v2/{endpoint}/retry/{job}", posts(post(control::retry))),
        ("/v2/{endpoint}/purge-queue", posts(post(control::purge))),
        ("/v2/{endpoint}/health", gets(get(health::health))),
        ("/v2/{endpoint}/metrics", gets(get(health::metrics))),
        ("/v2/{endpoint}/requests", gets(get(health::requests))),
        ("/v2/{endpoint}/openai/{*route}", any(openai::call)),
        ("/v2/{endpoint}/batch", both(get(batch::list).post(batch::create))),
        (
            "/v2/{endpoint}/batch/{batch}",
            get(batch::get).put(batch::rename).fallback(|| refused("GET and PUT")),
        ),
        ("/v2/{endpoint}/batch/{batch}/finalize", posts(post(batch::finalize))),
        ("/v2/{endpoint}/batch/{batch}/cancel", posts(post(batch::cancel))),
        ("/v2/{endpoint}/batch/{batch}/requests", both(get(batch::requests).post(batch::add))),
        ("/v2/{endpoint}/batch/{batch}/requests/{job}", delete(batch::remove).fallback(|| refused("DELETE"))),
        ("/v2/{endpoint}/{*operation}", any(unknown)),
    ]
}

/// The routes of the job API, with their CORS headers and request ids.
pub fn job_routes(state: Gateway) -> Router {
    let routes =
        table().into_iter().fold(Router::new(), |routes, (path, answers)| routes.route(path, answers));
    routes.layer(middleware::from_fn_with_state(state.clone(), edge::edge)).with_state(state)
}

/// The paths of the job API, for tests that go over all of them.
pub fn job_paths() -> Vec<&'static str> {
    table().into_iter().map(|(path, _)| path).collect()
}

fn refused(allowed: &'static str) -> Ready<JobError> {
    ready(JobError::Method(allowed))
}

async fn unknown() -> JobError {
    JobError::NoSuchOperation
}
