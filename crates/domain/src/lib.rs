//! The bottom room: types with their invariants and the pure decisions of runyard. Nothing here knows a
//! clock, a disk, a network or a wire word; every decision gets the time as an argument.
//!
//! - [`job`] is the job machine: what a command does to a job, or why it is refused.
//! - [`endpoint`], [`release`] and [`worker`] are the records the control plane keeps.
//! - [`audit`] is who changed what.
//! - [`batch`] is how jobs are gathered, run and kept together.
//! - [`key`] is what opens what, [`member`] who people are.
//! - [`git`] is how an endpoint follows a repository.
//! - [`example`] is an input that people keep with an endpoint.
//! - [`delivery`] is how the end of a job is told to its webhook.
//! - [`gpu`] is what GPUs a machine has and which ones a worker shall get; [`origin`] is whose pages may call.
//! - [`image`] is what container workers run, and why one could not; [`registry`] is with which login it is pulled.
//! - [`scaling`] and [`placement`] decide how many workers there are and which GPUs they hold; [`rollout`] decides
//!   how one release follows the other.
//! - [`resource`] is what endpoints are described by and share: templates, network volumes, keys.
//! - [`keep`] says which releases keep their code.
//! - [`secret`] is what is kept of secrets, and how variables refer to them.
//! - [`reason`] enumerates why a job waits, how it runs, or why it failed.
//! - [`start`] is a worker's start by its phases, and how long they usually take.
//! - [`env`] is the seam for time, ids and randomness.

pub mod audit;
pub mod batch;
pub mod delivery;
pub mod endpoint;
pub mod env;
pub mod example;
pub mod git;
pub mod gpu;
pub mod id;
pub mod image;
pub mod job;
pub mod keep;
pub mod key;
pub mod lists;
pub mod member;
pub mod origin;
pub mod payload;
pub mod placement;
pub mod rates;
pub mod reason;
pub mod registry;
pub mod release;
pub mod resource;
pub mod rollout;
pub mod scaling;
pub mod secret;
pub mod start;
pub mod time;
pub mod worker;

pub use audit::{AuditFilter, AuditRecord};
pub use batch::{Batch, BatchCounts, BatchRefusal};
pub use delivery::Delivery;
pub use endpoint::{Endpoint, LogLevel, Scaler, Settings};
pub use env::Env;
pub use example::Example;
pub use gpu::{Gpu, Gpus};
pub use id::{BatchId, ConnectionId, DeliveryId, EndpointId, JobId, KeyId, MemberId, ResourceId, WorkerId};
pub use job::{Attempt, Job, Outcome, Phase, Policy};
pub use key::{Access, KeyRecord, Operation, PageUse, Session};
pub use lists::Prefetch;
pub use member::{Member, Role};
pub use origin::Origin;
pub use payload::Payload;
pub use rates::Rates;
pub use reason::fingerprint::FailureGroup;
pub use reason::{FailReason, RunReason, WaitReason};
pub use release::{PythonWish, Release, ReleaseState};
pub use resource::{Blueprint, FlashBoot, Resource};
pub use rollout::{Rollout, RolloutSettings};
pub use secret::{DataKeyRecord, SecretRecord};
pub use time::Timestamp;
pub use worker::{Exit, WorkerRecord};
