//! What a container uses, by the engine's count.

use bollard::models::{ContainerBlkioStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt as _;
use runyard_domain::image::Fault;

use super::{Engine, error};
use crate::stats::Sample;

/// From here on a limit means none.
const NO_LIMIT: u64 = 1 << 60;

impl Engine {
    /// Counts once what a container uses.
    pub async fn sample(&self, container: &str) -> Result<Sample, Fault> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let mut answers = Box::pin(self.docker().stats(container, Some(options)));
        match answers.next().await {
            Some(Ok(stats)) => Ok(sample(stats)),
            Some(Err(error)) => Err(error::plain("count what the container uses", &error)),
            None => Err(Fault::EngineAway { message: "it ended its answer".to_owned() }),
        }
    }
}

fn sample(stats: ContainerStatsResponse) -> Sample {
    let cpu = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage);
    let memory = stats.memory_stats.unwrap_or_default();
    let networks = stats.networks.map(|all| {
        all.values().fold((0, 0), |(came, went), one| {
            (came + one.rx_bytes.unwrap_or(0), went + one.tx_bytes.unwrap_or(0))
        })
    });
    Sample {
        cpu_ns: cpu,
        memory: used(&memory),
        memory_limit: memory.limit.filter(|limit| (1..NO_LIMIT).contains(limit)),
        pids: stats.pids_stats.and_then(|pids| pids.current),
        network: networks,
        disk: stats.blkio_stats.and_then(disk),
    }
}

/// Memory less what is cached of files and can be had back at any time; the two versions of control groups name that
/// differently.
fn used(memory: &ContainerMemoryStats) -> Option<u64> {
    let usage = memory.usage?;
    let stats = memory.stats.as_ref();
    let cached = stats.and_then(|s| s.get("total_inactive_file").or_else(|| s.get("inactive_file")));
    Some(usage.saturating_sub(cached.copied().unwrap_or(0)))
}

fn disk(blocks: ContainerBlkioStats) -> Option<(u64, u64)> {
    let entries = blocks.io_service_bytes_recursive?;
    let sum = |wanted: &str| {
        let fits =
            entries.iter().filter(|one| one.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(wanted)));
        fits.filter_map(|one| one.value).sum()
    };
    Some((sum("read"), sum("write")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_answer_is_counted() {
        let answer = r#"{
            "cpu_stats": {"cpu_usage": {"total_usage": 5000}, "system_cpu_usage": 1, "online_cpus": 2},
            "memory_stats": {"usage": 1000, "limit": 2000, "stats": {"inactive_file": 300}},
            "pids_stats": {"current": 4},
            "networks": {"eth0": {"rx_bytes": 10, "tx_bytes": 20}, "eth1": {"rx_bytes": 1, "tx_bytes": 2}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"major": 8, "minor": 0, "op": "Read", "value": 7}, {"major": 8, "minor": 0, "op": "write", "value": 9},
                {"major": 8, "minor": 16, "op": "read", "value": 1}]}
        }"#;
        let stats = serde_json::from_str(answer).map(sample).unwrap_or_default();
        let expected = Sample {
            cpu_ns: Some(5000),
            memory: Some(700),
            memory_limit: Some(2000),
            pids: Some(4),
            network: Some((11, 22)),
            disk: Some((8, 9)),
        };
        assert_eq!(stats, expected);
        let unbounded = r#"{"memory_stats": {"usage": 1, "limit": 9223372036854771712}}"#;
        let stats = serde_json::from_str(unbounded).map(sample).unwrap_or_default();
        assert_eq!((stats.memory, stats.memory_limit, stats.disk), (Some(1), None, None));
    }
}
