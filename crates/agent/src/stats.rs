//! What workers use: counted twice, a second apart. Containers by their engine, processes by the kernel's files about
//! each of them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use runyard_domain::WorkerId;
use runyard_runtime::stats::{Kind, Sample, Stats};
use tokio::time::{Instant, sleep};

use crate::agent::Agent;
use crate::leftovers;
use crate::worker::{Worker, locked};

/// How long is measured.
const MOMENT: Duration = Duration::from_secs(1);

/// Engines that are asked at once.
const AT_ONCE: usize = 16;

/// Nanoseconds of one of the kernel's ticks, which are a hundredth of a second wherever programs see them.
const TICK_NS: u64 = 10_000_000;

/// What every worker that runs uses.
pub async fn measure(agent: &Arc<Agent>) -> Vec<Stats> {
    let mut workers = locked(&agent.table).all();
    workers.retain(|worker| !worker.is_dead());
    workers.sort_by(|a, b| a.id.cmp(&b.id));
    let first = count(agent, &workers).await;
    sleep(MOMENT).await;
    let second = count(agent, &workers).await;
    let at = agent.now();
    let measured = workers.iter().zip(first).zip(second).filter(|((worker, _), _)| !worker.is_dead());
    let stats = measured.map(|((worker, before), after)| {
        let (sample, when) = after;
        let elapsed = when.duration_since(before.1).as_nanos();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        Stats {
            worker: worker.id.clone(),
            endpoint: worker.endpoint.clone(),
            kind: if worker.container.is_some() { Kind::Container } else { Kind::Process },
            at,
            cpu_percent: sample.cpu_percent(&before.0, elapsed),
            memory_bytes: sample.memory,
            memory_limit_bytes: sample.memory_limit,
            pids: sample.pids,
            received_bytes: sample.network.map(|(came, _)| came),
            sent_bytes: sample.network.map(|(_, went)| went),
            read_bytes: sample.disk.map(|(read, _)| read),
            written_bytes: sample.disk.map(|(_, written)| written),
        }
    });
    stats.collect()
}

/// Counts each worker once, in their order, with the time of the count.
async fn count(agent: &Arc<Agent>, workers: &[Arc<Worker>]) -> Vec<(Sample, Instant)> {
    let processes = workers.iter().filter(|worker| worker.container.is_none());
    let marks: HashMap<String, WorkerId> = processes
        .clone()
        .map(|worker| (leftovers::mark(&worker.id, &agent.data_name), worker.id.clone()))
        .collect();
    let leaders = processes.map(|worker| (worker.pid, worker.id.clone())).collect();
    let found = tokio::task::spawn_blocking(move || processes_of(&marks, &leaders)).await;
    let (found, when) = (found.unwrap_or_default(), Instant::now());
    let counts = workers.iter().map(|worker| {
        let mut of_process = found.get(&worker.id).cloned().unwrap_or_default();
        of_process.memory_limit = worker.plan.as_ref().and_then(|plan| plan.memory_bytes);
        let (agent, worker) = (Arc::clone(agent), Arc::clone(worker));
        async move {
            match container(&agent, &worker).await {
                Some(sample) => (sample, Instant::now()),
                None => (of_process, when),
            }
        }
    });
    let counts: Vec<_> = counts.collect();
    stream::iter(counts).buffered(AT_ONCE).collect().await
}

/// A container's count; nothing is known of one that does not run yet.
#[cfg(feature = "docker")]
async fn container(agent: &Agent, worker: &Worker) -> Option<Sample> {
    let inside = worker.container.as_ref()?;
    let counting = async {
        if inside.phase().is_some() {
            return None;
        }
        let engine = agent.engines.engine(inside.engine()).await.ok()?;
        engine.sample(&crate::container::name_of(&worker.id)).await.ok()
    };
    Some(tokio::time::timeout(Duration::from_secs(5), counting).await.ok().flatten().unwrap_or_default())
}

/// This build has no containers.
#[cfg(not(feature = "docker"))]
#[expect(clippy::unused_async, reason = "with containers it waits")]
async fn container(_agent: &Agent, _worker: &Worker) -> Option<Sample> {
    None
}

/// Goes once through the processes of the machine and adds up what is each worker's.
fn processes_of(
    marks: &HashMap<String, WorkerId>,
    leaders: &HashMap<u32, WorkerId>,
) -> HashMap<WorkerId, Sample> {
    let mut found: HashMap<WorkerId, Sample> = HashMap::new();
    if leaders.is_empty() {
        return found;
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let path = entry.path();
        let (mark, session) = leftovers::mark_of(&path);
        let marked = mark.and_then(|mark| marks.get(&mark));
        let Some(worker) = marked.or_else(|| leaders.get(&session?)) else { continue };
        let sum = found.entry(worker.clone()).or_default();
        if let Some(one) = process(&path) {
            add(sum, &one);
        }
    }
    found
}

fn add(sum: &mut Sample, one: &Sample) {
    let plus = |sum: Option<u64>, one: Option<u64>| match (sum, one) {
        (None, None) => None,
        (sum, one) => Some(sum.unwrap_or(0) + one.unwrap_or(0)),
    };
    sum.cpu_ns = plus(sum.cpu_ns, one.cpu_ns);
    sum.memory = plus(sum.memory, one.memory);
    sum.pids = plus(sum.pids, one.pids);
    if let Some((read, written)) = one.disk {
        let before = sum.disk.unwrap_or_default();
        sum.disk = Some((before.0 + read, before.1 + written));
    }
}

/// One process; `None` where it is gone.
fn process(path: &Path) -> Option<Sample> {
    let file = |name: &str| fs::read_to_string(path.join(name)).ok();
    Some(read(&file("stat")?, &file("status")?, file("io").as_deref()))
}

fn read(stat: &str, status: &str, io: Option<&str>) -> Sample {
    // The name in parentheses may hold anything, also parentheses.
    let rest = stat.rfind(')').and_then(|at| stat.get(at + 1..)).unwrap_or_default();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // Its own time, and that of its children that have ended.
    let ticks: Option<Vec<u64>> =
        (11..15).map(|at| fields.get(at).and_then(|field| field.parse().ok())).collect();
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line?.split_whitespace().next()?.parse::<u64>().ok()
    };
    let kib = |name: &str| value(status, name);
    let memory = kib("RssAnon").map(|anon| (anon + kib("RssShmem").unwrap_or(0)) * 1024);
    Sample {
        cpu_ns: ticks.map(|ticks| ticks.iter().sum::<u64>() * TICK_NS),
        memory,
        memory_limit: None,
        pids: value(status, "Threads"),
        network: None,
        disk: io.and_then(|io| Some((value(io, "read_bytes")?, value(io, "write_bytes")?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 1 2 3 4 100 20 3 1 20 0 2 0 5";
        let status = "Name:\ta) b\nRssAnon:\t    10 kB\nRssFile:\t 900 kB\nRssShmem:\t 2 kB\nThreads:\t2\n";
        let io = "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\n";
        let expected = Sample {
            cpu_ns: Some(124 * TICK_NS),
            memory: Some(12 * 1024),
            pids: Some(2),
            disk: Some((4096, 8192)),
            ..Sample::default()
        };
        assert_eq!(read(stat, status, Some(io)), expected);
        assert_eq!(read("", "", None), Sample::default());
        let mut sum = expected.clone();
        add(&mut sum, &expected);
        assert_eq!((sum.memory, sum.disk), (Some(24 * 1024), Some((8192, 16384))));
    }

    #[test]
    fn our_own_process_is_counted() {
        let own = process(Path::new("/proc/self")).unwrap_or_default();
        assert!(
            own.memory.is_some_and(|bytes| bytes > 0) && own.pids.is_some_and(|count| count > 0),
            "{own:?}"
        );
    }
}
