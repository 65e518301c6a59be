//! Checks of the server and its agent: that both are there and of one version, that users reach the listener, and
//! what stands between the data and whoever comes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use runyard_listener::OpenFiles;
use runyard_runtime::wire::Info;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::check::Check;
use crate::operator::Options;

/// How long something on this machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A certificate that ends sooner is worth a warning, in days.
const SOON: i64 = 14;
/// Fewer open files than this are worth a warning.
const FEW_FILES: u64 = 4_096;
/// Fewer processes and threads than this are worth a warning.
const FEW_PROCESSES: u64 = 1_024;

/// All of them.
pub(super) async fn checks(options: &Options) -> Vec<Check> {
    let mut checks = vec![server(options)];
    if let Some(address) = options.address {
        checks.extend(agent(options).await);
        checks.push(listener(address).await);
        checks.push(exposure(options, address));
        checks.push(certificate(options));
    }
    checks.extend([files(options.files), processes()]);
    checks
}

fn server(options: &Options) -> Check {
    let version = env!("CARGO_PKG_VERSION");
    if options.address.is_none() {
        let meaning = "no job is taken and none is run";
        return Check::warn("server", "no server runs on this data directory", meaning, "runyard up");
    }
    if options.engine.is_draining() {
        let meaning = "new jobs are refused until it is back";
        return Check::warn(
            "server",
            format!("{version}, shutting down"),
            meaning,
            "wait for it to come back",
        );
    }
    if options.engine.is_disk_full() {
        let found = format!("{version}, and the disk is full");
        return Check::fail("server", found, "new jobs are refused", "make room below the data directory");
    }
    Check::ok("server", format!("version {version}"))
}

async fn agent(options: &Options) -> Vec<Check> {
    let about = match timeout(PATIENCE, options.runtime.agent()).await {
        Ok(Ok(Some(about))) => about,
        Ok(Ok(None)) => return Vec::new(),
        Ok(Err(error)) => return vec![no_agent(error.to_string())],
        Err(_) => return vec![no_agent(format!("no answer within {} s", PATIENCE.as_secs()))],
    };
    let found = format!("process {}, workers reach it at {}", about.pid, about.worker_url);
    let mut checks = vec![Check::ok("agent", found), agent_version(&about), boundary(&about.boundary)];
    let port = about.worker_url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    if let Some(port) = port {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        checks.push(match reach(address).await {
            Ok(()) => Check::ok("worker-listener", format!("{address} answers")),
            Err(why) => Check::fail(
                "worker-listener",
                format!("{address}: {why}"),
                "workers cannot take jobs",
                "look at agent.log, and at packet filters on the loopback device",
            ),
        });
    }
    checks
}

fn no_agent(found: String) -> Check {
    Check::fail("agent", found, "no worker can be started", "look at agent.log in the data directory")
}

fn agent_version(about: &Info) -> Check {
    let ours = env!("CARGO_PKG_VERSION");
    if about.version == ours {
        return Check::ok("agent-version", format!("{ours}, as the server"));
    }
    Check::warn(
        "agent-version",
        format!("{} under a server of {ours}", about.version),
        "the agent goes on as it is while workers live: what is new in it comes later",
        "nothing: it is replaced before the next worker starts while none runs",
    )
}

fn boundary(line: &str) -> Check {
    if line.contains("not a boundary") {
        return Check::warn(
            "boundary",
            line,
            "workers can read the data directory",
            "run only code that you trust, or start the server as root or on a kernel with Landlock",
        );
    }
    Check::ok("boundary", line)
}

/// The listener as somebody on this machine reaches it.
async fn listener(address: SocketAddr) -> Check {
    let near = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
        _ => address,
    };
    match reach(near).await {
        Ok(()) => Check::ok("listener", format!("{near} takes connections")),
        Err(why) => Check::fail(
            "listener",
            format!("{near}: {why}"),
            "users do not get in",
            "look at packet filters, and whether all connections are in use (max_connections)",
        ),
    }
}

async fn reach(address: SocketAddr) -> Result<(), String> {
    match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Whether keys travel in clear.
fn exposure(options: &Options, address: SocketAddr) -> Check {
    let https = options.config.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    let proxied = https && !options.config.door.trusted_proxies.is_empty();
    match (options.tls.is_some(), address.ip().is_loopback(), proxied) {
        (true, ..) => Check::ok("exposure", format!("{address} speaks TLS")),
        (_, true, _) => Check::ok("exposure", format!("{address} is reached from this machine alone")),
        (_, _, true) => Check::ok("exposure", format!("{address} stands behind a trusted proxy")),
        _ => Check::warn(
            "exposure",
            format!("{address} is reached from other machines without TLS"),
            "keys, inputs and results can be read on the way",
            "set tls_cert and tls_key, or listen on loopback behind a proxy that speaks TLS",
        ),
    }
}

fn certificate(options: &Options) -> Check {
    let Some(tls) = &options.tls else { return Check::ok("tls", "no certificate is configured") };
    if let Some(trouble) = tls.trouble() {
        let todo = match &options.config.door.acme {
            None => "put a certificate and its key there; they are read again at once",
            Some(_) => {
                "let port 443 of each name in acme_domains lead to this listener; SIGHUP has it asked for at once"
            }
        };
        return Check::fail("tls", trouble, "the certificate before it stays in force until it ends", todo);
    }
    let now = options.engine.env().wall().0 / 1_000;
    ends(tls.not_after().map(|end| (end - now).div_euclid(86_400)))
}

/// The check of a certificate that ends in so many days.
fn ends(days: Option<i64>) -> Check {
    match days {
        None => Check::ok("tls", "a certificate, which does not say legibly when it ends"),
        Some(days) if days < 0 => Check::fail(
            "tls",
            format!("the certificate ended {} days ago", -days),
            "clients refuse to connect",
            "renew it; new files come into force by themselves",
        ),
        Some(days) if days < SOON => Check::warn(
            "tls",
            format!("the certificate ends in {days} days"),
            "after that clients refuse to connect",
            "renew it; new files come into force by themselves",
        ),
        Some(days) => Check::ok("tls", format!("the certificate ends in {days} days")),
    }
}

fn files(files: OpenFiles) -> Check {
    match files.now {
        None => Check::ok("open-files", "no limit"),
        Some(now) if now < FEW_FILES => Check::warn(
            "open-files",
            format!("at most {now}"),
            "each connection is one: clients are refused when they are used up",
            "ulimit -Hn 65536, or LimitNOFILE= in the unit",
        ),
        Some(now) => Check::ok("open-files", format!("at most {now}")),
    }
}

fn processes() -> Check {
    match rustix::process::getrlimit(rustix::process::Resource::Nproc).current {
        Some(now) if now < FEW_PROCESSES => Check::warn(
            "processes",
            format!("at most {now} of this user"),
            "workers that use threads fail to start",
            "ulimit -Hu 65536, or LimitNPROC= and TasksMax= in the unit",
        ),
        Some(now) => Check::ok("processes", format!("at most {now} of this user")),
        None => Check::ok("processes", "no limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn certificates_by_their_end() {
        let verdicts = [None, Some(-1), Some(0), Some(13), Some(14)].map(|days| ends(days).verdict);
        assert_eq!(verdicts, [Verdict::Ok, Verdict::Fail, Verdict::Warn, Verdict::Warn, Verdict::Ok]);
    }

    #[test]
    fn an_agent_of_another_version_is_told() {
        let about = |version: &str| Info {
            pid: 1,
            version: version.to_owned(),
            worker_url: String::new(),
            boundary: String::new(),
        };
        assert_eq!(agent_version(&about(env!("CARGO_PKG_VERSION"))).verdict, Verdict::Ok);
        assert_eq!(agent_version(&about("0.0.1")).verdict, Verdict::Warn);
    }

    #[tokio::test]
    async fn a_listener_that_is_gone_fails() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        assert_eq!(super::listener(address).await.verdict, Verdict::Ok);
        drop(listener);
        assert_eq!(super::listener(address).await.verdict, Verdict::Fail);
    }
}
