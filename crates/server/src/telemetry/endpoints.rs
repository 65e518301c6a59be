//! What is seen of endpoints, of their workers and of the GPUs that these hold.

use std::collections::BTreeSet;

use runyard_domain::{Timestamp, WorkerRecord};
use runyard_metrics::{Key, Subject};
use runyard_runtime::gpu::Reading;
use runyard_runtime::stats::Stats;

use super::{Levels, MOST, Sampler};

impl Sampler {
    /// Queues, workers by state, and GPUs.
    pub(super) fn look(&self, records: &[WorkerRecord], readings: &[Reading], now: Timestamp) -> Levels {
        let mut levels = Levels::default();
        for endpoint in self.engine.endpoints().iter().take(MOST) {
            let subject = Subject::Endpoint(endpoint.id.clone());
            let queued = self.engine.queued(&endpoint.id);
            let oldest_ms = queued.oldest.map_or(0, |at| now.since(at));
            let counts = self.fleet.counts(&endpoint.id);
            for (key, value) in [
                (Key::QueueWaiting, queued.waiting),
                (Key::JobsRunning, queued.running),
                (Key::WorkersStarting, counts.starting),
                (Key::WorkersIdle, counts.idle),
                (Key::WorkersRunning, counts.running),
                (Key::WorkersDraining, counts.draining),
                (Key::WorkersThrottled, counts.throttled),
                (Key::WorkersUnhealthy, counts.unhealthy),
            ] {
                levels.put(&subject, key, value as f64);
            }
            let slots = u64::from(endpoint.settings.workers_max) * u64::from(endpoint.settings.concurrency);
            let in_use = queued.running as f64 / slots.max(1) as f64;
            levels.put(&subject, Key::ConcurrencyUse, in_use);
            levels.put(&subject, Key::QueueOldest, oldest_ms as f64 / 1_000.0);
            let held = records.iter().filter(|record| record.endpoint == endpoint.id);
            let held: BTreeSet<u32> = held.flat_map(|record| record.gpus.iter().copied()).collect();
            of_held(&mut levels, &subject, readings.iter().filter(|gpu| held.contains(&gpu.index)));
        }
        for gpu in readings {
            let subject = Subject::Gpu(gpu.index);
            for (key, value) in [
                (Key::GpuUse, gpu.use_ratio),
                (Key::GpuMemoryUsed, gpu.memory_used.map(|bytes| bytes as f64)),
                (Key::GpuMemoryTotal, gpu.memory_total.map(|bytes| bytes as f64)),
                (Key::GpuPower, gpu.power_watts),
                (Key::GpuTemperature, gpu.celsius),
            ] {
                if let Some(value) = value {
                    levels.put(&subject, key, value);
                }
            }
        }
        levels
    }
}

/// What the GPUs do that an endpoint's workers hold.
fn of_held<'a>(levels: &mut Levels, subject: &Subject, held: impl Iterator<Item = &'a Reading>) {
    let (mut uses, mut memory, mut power) = (Vec::new(), 0, 0.0);
    for gpu in held {
        uses.extend(gpu.use_ratio);
        memory += gpu.memory_used.unwrap_or(0);
        power += gpu.power_watts.unwrap_or(0.0);
    }
    if uses.is_empty() {
        return;
    }
    levels.put(subject, Key::EndpointGpuUse, uses.iter().sum::<f64>() / uses.len() as f64);
    levels.put(subject, Key::EndpointGpuMemory, memory as f64);
    levels.put(subject, Key::EndpointGpuPower, power);
}

/// What workers use, each by itself and together; at most so many by themselves.
pub(super) fn workers(levels: &mut Levels, all: &[Stats], most: usize) {
    for (place, stats) in all.iter().enumerate() {
        let endpoint = Subject::Endpoint(stats.endpoint.clone());
        let worker = Subject::Worker(stats.endpoint.clone(), stats.worker.clone());
        let cores = stats.cpu_percent.map(|percent| percent / 100.0);
        let memory = stats.memory_bytes.map(|bytes| bytes as f64);
        for (one, together, value) in
            [(Key::WorkerCpu, Key::EndpointCpu, cores), (Key::WorkerMemory, Key::EndpointMemory, memory)]
        {
            let Some(value) = value else { continue };
            levels.add(&endpoint, together, value);
            if place < most {
                levels.put(&worker, one, value);
            }
        }
        if let Some(limit) = stats.memory_limit_bytes.filter(|_| place < most) {
            levels.put(&worker, Key::WorkerMemoryLimit, limit as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use runyard_domain::{EndpointId, WorkerId};
    use runyard_runtime::stats::Kind;

    use super::*;

    #[test]
    fn workers_are_added_up_and_only_so_many_stand_by_themselves() {
        let stats = |worker: &str, percent: f64| Stats {
            worker: WorkerId::new(worker),
            endpoint: EndpointId::new("e"),
            kind: Kind::Process,
            at: Timestamp(0),
            cpu_percent: Some(percent),
            memory_bytes: Some(100),
            memory_limit_bytes: None,
            pids: None,
            received_bytes: None,
            sent_bytes: None,
            read_bytes: None,
            written_bytes: None,
        };
        let mut levels = Levels::default();
        workers(&mut levels, &[stats("a", 50.0), stats("b", 150.0)], 1);
        let found: Vec<(String, Key, f64)> =
            levels.all().map(|(of, key, value)| (of.to_string(), key, value)).collect();
        let row = |of: &str, key: Key, value: f64| (of.to_owned(), key, value);
        assert_eq!(
            found,
            [
                row("endpoint/e", Key::EndpointCpu, 2.0),
                row("endpoint/e", Key::EndpointMemory, 200.0),
                row("worker/e/a", Key::WorkerCpu, 0.5),
                row("worker/e/a", Key::WorkerMemory, 100.0),
            ]
        );
    }
}
