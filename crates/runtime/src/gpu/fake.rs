//! A GPU that is not there: it gets busy, full, hot and hungry where a worker uses it, and calms down afterwards.

use runyard_domain::gpu::Gpu;

use super::{Load, Reading};

/// Its memory in GiB where its type says nothing.
const USUAL_GB: u32 = 24;

/// What it draws at rest and at full load, in watts.
const POWER: (f64, f64) = (30.0, 320.0);

/// How warm it is at rest and gets at full load.
const CELSIUS: (f64, f64) = (34.0, 74.0);

/// How long it takes to warm up by two thirds, in seconds.
const WARMS_IN: f64 = 20.0;

/// Its use while a job runs: never quite all.
const BUSY: f64 = 0.92;

#[derive(Debug)]
pub(super) struct Fake {
    index: u32,
    name: String,
    memory: u64,
    celsius: f64,
}

impl Fake {
    /// One of this type.
    pub(super) fn new(index: u32, gpu: &Gpu) -> Self {
        let gb = if gpu.memory_gb == 0 { USUAL_GB } else { gpu.memory_gb };
        Self { index, name: gpu.name.clone(), memory: u64::from(gb) << 30, celsius: CELSIUS.0 }
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// What it does under this load, so many seconds later.
    pub(super) fn read(&mut self, load: Load, seconds: f64) -> Reading {
        let use_ratio = if load.busy { BUSY } else { 0.0 };
        let memory = match (load.held, load.busy) {
            (_, true) => 0.7,
            (true, false) => 0.5,
            (false, false) => 0.01,
        };
        let warm = CELSIUS.0 + (CELSIUS.1 - CELSIUS.0) * use_ratio;
        self.celsius += (warm - self.celsius) * (1.0 - (-seconds.max(0.0) / WARMS_IN).exp());
        Reading {
            index: self.index,
            name: Some(self.name.clone()),
            use_ratio: Some(use_ratio),
            memory_used: Some((self.memory as f64 * memory) as u64),
            memory_total: Some(self.memory),
            power_watts: Some(POWER.0 + (POWER.1 - POWER.0) * use_ratio),
            celsius: Some(self.celsius),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_its_load() {
        let mut gpu = Fake::new(0, &Gpu::named("NVIDIA L4"));
        let rest = gpu.read(Load::default(), 2.0);
        let loaded = gpu.read(Load { held: true, busy: false }, 2.0);
        let busy = gpu.read(Load { held: true, busy: true }, 2.0);
        let later = gpu.read(Load { held: true, busy: true }, 20.0);
        let after = gpu.read(Load::default(), 600.0);
        assert_eq!((rest.use_ratio, busy.use_ratio), (Some(0.0), Some(BUSY)));
        assert!(rest.memory_used < loaded.memory_used && loaded.memory_used < busy.memory_used);
        assert!(rest.power_watts == loaded.power_watts && loaded.power_watts < busy.power_watts);
        assert!(rest.celsius < busy.celsius && busy.celsius < later.celsius && after.celsius < later.celsius);
    }
}
