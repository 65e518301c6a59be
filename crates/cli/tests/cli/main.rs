//! The command line against a server that speaks docs/api.md from a script: what is printed where, what is sent,
//! and how commands exit. The binary runs as its users run it, as a process with an environment of its own.

mod batch;
mod deploy;
mod fake;
mod follow;
mod lists;
mod run;
mod sandbox;
mod sign_in;
mod webhooks;
mod wrong;
