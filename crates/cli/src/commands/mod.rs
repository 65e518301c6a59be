//! The commands, one file each. To add one: a file with a clap `Args` struct and
//! `async fn run(self, context: &Context) -> anyhow::Result<()>`, a variant of [`Command`] (the match below then
//! asks for its arm), and its name in a group of [`crate::help`].

mod about;
mod agent;
mod audit;
mod backup;
mod batch;
mod billing;
mod cancel;
mod catalog;
mod completion;
mod config;
mod container;
mod deploy;
mod dev;
mod diff;
mod disk;
mod doctor;
mod endpoints;
mod env;
mod events;
mod examples;
mod exec;
mod failures;
mod git;
mod gpus;
mod jobs;
mod keys;
mod login;
mod logout;
mod logs;
mod members;
mod metrics;
mod notify;
mod openapi;
mod project;
mod promote;
mod purge;
mod quick;
mod registries;
mod releases;
mod retry;
mod rollback;
mod run;
mod secret;
mod secret_env;
mod service;
pub mod serving;
mod settings;
mod ssh_keys;
mod status;
mod templates;
mod token;
mod top;
mod up;
mod upgrade;
mod volumes;
mod webhooks;
mod why;
mod workers;

use clap::Subcommand;

use crate::context::Context;

/// What the user asks for.
#[derive(Debug, Subcommand)]
pub enum Command {
    Dev(dev::Dev),
    Up(up::Up),
    Deploy(Box<deploy::Deploy>),
    Quick(Box<quick::Quick>),
    Releases(releases::Releases),
    Rollback(rollback::Rollback),
    Promote(promote::Promote),
    Plan(project::plan::Plan),
    Apply(project::apply::Apply),
    Validate(project::validate::Validate),
    Export(project::export::Export),
    Destroy(project::destroy::Destroy),
    Diff(diff::Diff),
    Git(git::Git),
    Run(run::Run),
    Status(status::Status),
    Cancel(cancel::Cancel),
    Retry(retry::Retry),
    Jobs(jobs::Jobs),
    Token(token::Token),
    Purge(purge::Purge),
    Batch(batch::Batch),
    Examples(examples::Examples),
    Logs(logs::Logs),
    Metrics(metrics::Metrics),
    Why(why::Why),
    Failures(failures::Failures),
    Top(top::Top),
    #[command(visible_alias = "ep")]
    Endpoints(Box<endpoints::Endpoints>),
    Workers(workers::Workers),
    Gpus(gpus::Gpus),
    Exec(exec::Exec),
    Webhooks(webhooks::Webhooks),
    Audit(audit::AuditLog),
    #[command(name = "secret", visible_alias = "secrets")]
    Secret(secret::Secrets),
    Keys(keys::Keys),
    #[command(visible_alias = "member")]
    Members(members::Members),
    Whoami(members::Whoami),
    Registries(registries::Registries),
    Templates(Box<templates::Templates>),
    Volumes(volumes::Volumes),
    SshKeys(ssh_keys::SshKeys),
    Catalog(catalog::Catalog),
    Billing(billing::Billing),
    Events(events::Events),
    Openapi(openapi::Openapi),
    Login(login::Login),
    Logout(logout::Logout),
    Doctor(doctor::Doctor),
    Disk(disk::Disk),
    Backup(backup::Backup),
    Upgrade(upgrade::Upgrade),
    Service(service::Service),
    Env(env::Env),
    Config(config::Config),
    Completion(completion::Completion),
    #[command(hide = true)]
    About(about::About),
    #[command(hide = true)]
    Agent(agent::Agent),
    /// Become a worker: what the agent starts
    #[command(hide = true)]
    AgentExec,
}

impl Command {
    /// Does it.
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Dev(c) => c.run(context).await,
            Self::Up(c) => c.run(context).await,
            Self::Config(c) => c.run(context).await,
            Self::Backup(c) => c.run(context).await,
            Self::Upgrade(c) => c.run(context).await,
            Self::Service(c) => c.run(context),
            Self::Env(c) => c.run(context).await,
            Self::About(_) => about::About::run(context),
            Self::Agent(_) | Self::AgentExec => unreachable!("main runs these before there is a runtime"),
            Self::Deploy(c) => c.run(context).await,
            Self::Quick(c) => c.run(context).await,
            Self::Examples(c) => c.run(context).await,
            Self::Releases(c) => c.run(context).await,
            Self::Rollback(c) => c.run(context).await,
            Self::Promote(c) => c.run(context).await,
            Self::Plan(c) => c.run(context).await,
            Self::Apply(c) => c.run(context).await,
            Self::Validate(c) => c.run(context),
            Self::Export(c) => c.run(context).await,
            Self::Destroy(c) => c.run(context).await,
            Self::Diff(c) => c.run(context).await,
            Self::Git(c) => c.run(context).await,
            Self::Run(c) => c.run(context).await,
            Self::Status(c) => c.run(context).await,
            Self::Cancel(c) => c.run(context).await,
            Self::Retry(c) => c.run(context).await,
            Self::Jobs(c) => c.run(context).await,
            Self::Token(c) => c.run(context).await,
            Self::Purge(c) => c.run(context).await,
            Self::Batch(c) => c.run(context).await,
            Self::Logs(c) => c.run(context).await,
            Self::Metrics(c) => c.run(context).await,
            Self::Why(c) => c.run(context).await,
            Self::Failures(c) => c.run(context).await,
            Self::Top(c) => c.run(context).await,
            Self::Endpoints(c) => c.run(context).await,
            Self::Workers(c) => c.run(context).await,
            Self::Gpus(c) => c.run(context).await,
            Self::Exec(c) => c.run(context).await,
            Self::Audit(c) => c.run(context).await,
            Self::Webhooks(c) => c.run(context).await,
            Self::Secret(c) => c.run(context).await,
            Self::Keys(c) => c.run(context).await,
            Self::Members(c) => c.run(context).await,
            Self::Whoami(c) => c.run(context).await,
            Self::Registries(c) => c.run(context).await,
            Self::Templates(c) => c.run(context).await,
            Self::Volumes(c) => c.run(context).await,
            Self::SshKeys(c) => c.run(context).await,
            Self::Catalog(c) => c.run(context).await,
            Self::Billing(c) => c.run(context).await,
            Self::Events(c) => c.run(context).await,
            Self::Openapi(c) => c.run(context),
            Self::Login(c) => c.run(context).await,
            Self::Logout(c) => c.run(context).await,
            Self::Doctor(c) => c.run(context).await,
            Self::Disk(c) => c.run(context).await,
            Self::Completion(c) => c.run(context),
        }
    }
}
