//! The HTTP dialect of RunPod's serverless queue: the job API that clients call and the protocol that workers
//! speak. Bytes come in, one call to the engine is made, bytes go out. No policy, no SQL, no state but who is
//! being answered right now.
//!
//! - [`job_routes`]: `/v2/{endpoint}/run`, `runsync`, `status`, `stream`, … ([`jobs`])
//! - [`worker_routes`]: `/w/{token}/v2/{endpoint}/job-take`, `job-done`, … ([`workers`])
//!
//! Payloads are never parsed into values and written again: they are cut out of the body as raw text and
//! spliced into the answer as raw text.

mod body;
mod gateway;
mod jobs;
mod json;
#[doc(hidden)]
pub mod probe;
mod rates;
mod reasons;
mod splice;
mod workers;

pub use body::{Failed, Watched};
pub use gateway::{Gateway, OnRefresh, Options, Timing};
pub use jobs::{is_local_request, job_paths, job_routes};
pub use reasons::{Reasons, WorkerCounts};
pub use workers::{CHUNK_HEADER, JOBS_HEADER, worker_paths, worker_routes};
