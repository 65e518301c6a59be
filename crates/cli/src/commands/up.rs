//! `runyard up`: the server of this machine, with its agent.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use runyard_domain::gpu::Inventory;
use runyard_runtime::Paths;
use runyard_server::{Config, FirstKey, Flags, Mode, Server};
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::{notify, serving};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::errors::{Code, Failure};
use crate::output::Tone;

/// Start the server of this machine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard up                                    http://127.0.0.1:8080, data in ~/.local/share/runyard
  runyard up --listen 0.0.0.0:8080 --data /srv/runyard
  runyard up --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
  runyard up --listen 0.0.0.0:443 --acme-domain gpu.example.org
  runyard up --gpus 2                           two fake GPUs where there are no real ones

The first start makes the data directory and an API key. SIGTERM and Ctrl-C end it: running jobs get a
grace, unfinished ones return to the queue, warm workers wait five minutes for the next start.")]
pub struct Up {
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The base URL that users call, where it differs from the address
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Speak TLS with the certificates in this file (PEM); needs --tls-key
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Speak TLS with a certificate for this name that Let's Encrypt gives and renews (ACME); may be repeated
    #[arg(long = "acme-domain", value_name = "NAME", conflicts_with_all = ["tls_cert", "tls_key"])]
    acme_domains: Vec<String>,
    /// GPUs of this machine, as 2 or "2xNVIDIA A40:48GB,1xRTX 4090"; without it they are counted
    #[arg(long, value_name = "N|TYPES")]
    gpus: Option<Inventory>,
}

impl Up {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        serving::log_to_stderr();
        let (data, _) = serving::data_dir(context, "runyard")?;
        let flags = Flags {
            listen: self.listen,
            public_url: self.public_url,
            gpus: self.gpus,
            tls_cert: self.tls_cert.map(here).transpose()?,
            tls_key: self.tls_key.map(here).transpose()?,
            acme_domains: (!self.acme_domains.is_empty()).then(|| self.acme_domains.join(",")),
        };
        let config = Config::load(&Paths::new(&data).config(), &flags)?;
        let listen = config.listen.clone();
        // As it is called now: later it may have been replaced.
        let program = serving::this_program()?;
        let given = runyard_server::inherited();
        let mut replaced = signal(SignalKind::user_defined2())?;
        let server = Server::start_on(&data, config, Mode::Up, program.clone(), given).await?;
        serving::note_use(&server);
        context.ui.write(&banner(&server, context))?;
        if let Some(first) = &server.first_key {
            keep_key(&server.url, first, context)?;
        }
        if serving::is_public(&listen) && server.boundary.starts_with("not a boundary") {
            context.ui.note(&format!(
                "warning: {listen} is reachable from other machines, and {}",
                server.boundary
            ));
        }
        notify::ready(&server.url);
        let hangups = tokio::spawn(outlive_hangups(!std::io::stdin().is_terminal()));
        tokio::select! {
            told = serving::told_to_end() => told?,
            _ = replaced.recv() => return Err(swap(server, &program, context).await),
            () = server.failed() => {
                server.stop().await;
                return Err(Failure::new(Code::Failure, "the store failed; see the log above").into());
            }
        }
        hangups.abort();
        notify::ending();
        context.ui.note("ending: running jobs get their grace (once more Ctrl-C ends at once)");
        tokio::select! {
            () = server.stop() => Ok(()),
            told = serving::told_to_end() => told,
        }
    }
}

/// SIGHUP asks a service to read its certificates again; without any that is no reason to end. Who serves in a terminal
/// ends with it, as usual.
async fn outlive_hangups(is_service: bool) {
    let Some(mut hangups) = is_service.then(|| signal(SignalKind::hangup()).ok()).flatten() else { return };
    while hangups.recv().await.is_some() {}
}

/// Becomes the program that lies where this one was started from, with the same arguments and the same port. Comes
/// back only where neither it nor this one can be started.
async fn swap(server: Server, program: &Path, context: &Context) -> anyhow::Error {
    context.ui.note("making way for another program: workers go on");
    notify::changing();
    let port = server.hand_over().await;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let error = port.become_program(program, &arguments);
    context
        .ui
        .note(&format!("warning: {} cannot be started ({error}): going on as before", program.display()));
    port.become_program(Path::new("/proc/self/exe"), &arguments).into()
}

/// A path as it is meant where the command was given.
fn here(path: PathBuf) -> anyhow::Result<String> {
    Ok(std::path::absolute(path)?.display().to_string())
}

fn banner(server: &Server, context: &Context) -> String {
    let dim = |text: &str| context.ui.out.tone(text, Tone::Dim);
    format!(
        "runyard up · {version}\n  API      {url}\n  Console  {url}/   (sign in with a key)\n  Data     {data}\n  Workers  {boundary}\n  {next}\n",
        version = env!("CARGO_PKG_VERSION"),
        url = server.url,
        data = serving::short(&server.data),
        boundary = server.boundary,
        next = dim("next: runyard deploy FOLDER, then runyard run NAME -i key=value"),
    )
}

/// Puts a first key where commands find it, and shows it this once.
fn keep_key(url: &str, first: &FirstKey, context: &Context) -> anyhow::Result<()> {
    // Shown before it is saved: it exists by now, and nobody can ask for it again.
    let shown = if first.given {
        context.ui.write("  Key      the one of RUNYARD_API_KEY\n")
    } else {
        context.ui.write(&format!("  Key      {}   (shown this once)\n", first.key))
    };
    match save_key(url, first) {
        Ok(file) => context.ui.note(&format!("the key is saved in {file}")),
        Err(error) => context.ui.note(&format!("warning: the key could not be saved: {error:#}")),
    }
    shown
}

fn save_key(url: &str, first: &FirstKey) -> anyhow::Result<String> {
    let mut credentials = Credentials::load()?;
    credentials.set(url, Some(first.key.clone()));
    credentials.save()?;
    Ok(serving::short(&Credentials::path()?))
}
