//! The part of the configuration that bounds what clients may use: connections, bodies, slowness and rates.

use std::time::Duration;

use runyard_domain::rates::{Group, Rate, Rates};
use runyard_listener::{Networks, OpenFiles};

use super::{File, Layers, between};
use crate::ServerError;

/// What the kernel may keep for one reader, so that ten thousand slow ones do not fill the memory.
const SEND_BUFFER: usize = 256 << 10;

/// What is limited.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of bodies in memory at once, in MiB.
    pub in_flight_mib: u64,
    /// Of the listener that users reach.
    pub public: runyard_listener::Limits,
    /// How often a key may call an endpoint.
    pub rates: Rates,
}

impl Limits {
    pub(super) fn pick(layers: &mut Layers, file: &File) -> Result<Self, ServerError> {
        let mut number = |key: &str, value: Option<u64>, default: u64, least: u64, most: u64| {
            let value = layers.pick(key, None, value, Some(default))?.unwrap_or(default);
            between(key, value, least, most)?;
            Ok::<u64, ServerError>(value)
        };
        let in_flight_mib = number("in_flight_mib", file.in_flight_mib, 768, 1, 1 << 20)?;
        let connections = number("max_connections", file.max_connections, 16_000, 1, 1_000_000)?;
        let key = "max_connections_per_address";
        let per_address = number(key, file.max_connections_per_address, 4_096, 1, 1_000_000)?;
        let header_kib = number("header_kib", file.header_kib, 64, 8, 1_024)?;
        let headers = number("header_lines", file.header_lines, 100, 10, 10_000)?;
        let header_timeout = number("header_timeout_s", file.header_timeout_s, 20, 1, 3_600)?;
        let keep_alive = number("keep_alive_s", file.keep_alive_s, 120, 1, 86_400)?;
        let patience = number("slow_timeout_s", file.slow_timeout_s, 30, 1, 3_600)?;
        let rate = number("slow_rate", file.slow_rate, 500, 0, 1_000_000_000)?;
        let keep_alive = Duration::from_secs(keep_alive);
        let public = runyard_listener::Limits {
            connections: connections as usize,
            per_address: per_address as usize,
            header_bytes: (header_kib << 10) as usize,
            headers: headers as usize,
            header_timeout: Duration::from_secs(header_timeout),
            first_timeout: keep_alive,
            idle_timeout: keep_alive,
            patience: Duration::from_secs(patience),
            rate,
            send_buffer: Some(SEND_BUFFER),
            shared: Networks::default(),
        };
        Ok(Self { in_flight_mib, public, rates: rates(layers, file)? })
    }

    /// The same within what the limit of open files allows, and what to say where that is less than was wanted.
    pub fn within(mut self, files: OpenFiles) -> (Self, Option<String>) {
        let wanted = self.public.connections;
        self.public.connections = files.connections(wanted);
        let said = (self.public.connections < wanted).then(|| {
            format!(
                "only {} files may be open, so that {} connections are served at once instead of {wanted}; raise \
                 the limit (ulimit -Hn, LimitNOFILE=) or lower max_connections",
                files.now.unwrap_or_default(),
                self.public.connections,
            )
        });
        (self, said)
    }

    /// Of the data directory's socket, which only the agent and the owner can use; a worker of the same user can
    /// reach it too, and must not be in their way.
    pub fn socket(&self) -> runyard_listener::Limits {
        let long = Duration::from_hours(1);
        runyard_listener::Limits {
            // A ping names every job that its worker runs.
            header_bytes: 256 << 10,
            header_timeout: Duration::from_secs(20),
            first_timeout: Duration::from_secs(20),
            idle_timeout: long,
            patience: Duration::from_mins(5),
            rate: 0,
            send_buffer: None,
            ..self.public.clone()
        }
    }
}

fn rates(layers: &mut Layers, file: &File) -> Result<Rates, ServerError> {
    let said = |group| match group {
        Group::Run => file.rate_run,
        Group::Runsync => file.rate_runsync,
        Group::Status => file.rate_status,
        Group::Cancel => file.rate_cancel,
        Group::Purge => file.rate_purge,
        Group::Requests => file.rate_requests,
        Group::Openai => file.rate_openai,
        Group::Batch => file.rate_batch,
    };
    let mut rates = Rates::default();
    for group in Group::ALL {
        let usual: Rate = group.usual();
        let rate = layers.pick(&format!("rate_{group}"), None, said(group), Some(usual))?;
        rates.0.insert(group, rate.unwrap_or(usual));
    }
    Ok(rates)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};
    use runyard_domain::rates::{Group, Rate};
    use runyard_listener::OpenFiles;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("server.toml");
        std::fs::write(&file, text).expect("written");
        Config::load(&file, &Flags::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn rates_are_read_in_their_notation() {
        let config = load("rate_run = \"1000/200\"\nrate_status = \"off\"\nrate_purge = 2").expect("valid");
        let rate = |group| config.limits.rates.get(group);
        assert_eq!(rate(Group::Run), Some(Rate { per_window: 1_000, at_once: 200 }));
        assert_eq!(rate(Group::Status), Some(Rate { per_window: 0, at_once: 0 }));
        assert_eq!(rate(Group::Purge), Some(Rate { per_window: 2, at_once: 0 }));
        assert_eq!(rate(Group::Openai), Some(Group::Openai.usual()));
        let shown = config.values.iter().find(|value| value.key == "rate_run").expect("shown");
        assert_eq!((shown.value.as_str(), shown.source), ("1000/200", "file"));
        assert!(load("rate_run = \"fast\"").expect_err("no rate").contains("'fast' is not a rate"));
    }

    #[test]
    fn limits_have_bounds() {
        for (text, wrong) in [
            ("max_connections = 0", "max_connections is 0; it must be 1 to 1000000"),
            ("header_kib = 1", "header_kib is 1; it must be 8 to 1024"),
            ("keep_alive_s = 0", "keep_alive_s is 0"),
        ] {
            let error = load(text).expect_err(text);
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn fewer_files_mean_fewer_connections_and_that_is_said() {
        let limits = load("").expect("valid").limits;
        let (limits, said) = limits.within(OpenFiles { before: Some(1_024), now: Some(4_096) });
        assert_eq!(limits.public.connections, 3_584);
        assert!(said.expect("it is said").contains("3584 connections are served at once instead of 16000"));
        let (_, said) = limits.within(OpenFiles { before: None, now: None });
        assert_eq!(said, None);
    }
}
