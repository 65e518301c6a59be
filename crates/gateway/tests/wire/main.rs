//! The wire, driven from outside: the routers in process where an answer is all that matters, a real listener
//! where connections do. The clock stands still and ids are counted, so that whole conversations can be
//! compared with golden files (`snapshots/`).

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod access;
mod batches;
mod bodies;
mod connections;
mod conversations;
mod jobs;
mod limits;
mod lists;
mod local;
mod openai;
mod own;
mod results;
mod streams;
mod support;
mod takes;
