//! What the GPUs of this machine do. Real ones are asked through NVIDIA's management library, which is loaded where the
//! machine has it; fake ones, of a machine that was told that it has some, do what their load says.

mod fake;
#[cfg(feature = "nvml")]
mod nvml;

use runyard_domain::gpu::Gpu;

/// What one GPU does. What is not known is left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Its index.
    pub index: u32,
    /// Its model, where it has one.
    pub name: Option<String>,
    /// The share of time in which it computed, from 0 to 1.
    pub use_ratio: Option<f64>,
    /// Bytes of its memory in use.
    pub memory_used: Option<u64>,
    /// Bytes of its memory.
    pub memory_total: Option<u64>,
    /// What it draws, in watts.
    pub power_watts: Option<f64>,
    /// How warm it is, in degrees Celsius.
    pub celsius: Option<f64>,
}

/// What a fake GPU is used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// A worker holds it.
    pub held: bool,
    /// That worker runs a job.
    pub busy: bool,
}

/// The GPUs of this machine.
#[derive(Debug)]
pub struct Gpus(Source);

#[derive(Debug)]
enum Source {
    Nothing,
    #[cfg(feature = "nvml")]
    Nvidia(Box<nvml::Library>),
    Fake(Vec<fake::Fake>),
}

impl Gpus {
    /// The GPUs of a machine that has so many `real` ones and was told that it has `told`.
    pub fn find(real: u32, told: &[Gpu]) -> Self {
        if real > 0 {
            return Self(measured());
        }
        let fakes: Vec<fake::Fake> =
            (0..).zip(told).map(|(index, gpu)| fake::Fake::new(index, gpu)).collect();
        Self(if fakes.is_empty() { Source::Nothing } else { Source::Fake(fakes) })
    }

    /// What each does. `load` says what a fake one is used for, `seconds` how long ago this was asked last. It waits
    /// for the driver.
    pub fn read(&mut self, load: impl Fn(u32) -> Load, seconds: f64) -> Vec<Reading> {
        match &mut self.0 {
            Source::Nothing => Vec::new(),
            #[cfg(feature = "nvml")]
            Source::Nvidia(library) => library.read(),
            Source::Fake(all) => all.iter_mut().map(|gpu| gpu.read(load(gpu.index()), seconds)).collect(),
        }
    }
}

/// What measures real GPUs.
#[cfg(feature = "nvml")]
fn measured() -> Source {
    match nvml::Library::load() {
        Ok(library) => Source::Nvidia(Box::new(library)),
        Err(error) => {
            tracing::warn!(%error, "GPUs are not measured: NVIDIA's management library cannot be used");
            Source::Nothing
        }
    }
}

/// This build measures none.
#[cfg(not(feature = "nvml"))]
fn measured() -> Source {
    Source::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fake_gpus_are_there_where_no_real_ones_are() {
        let count = |told: &[Gpu]| Gpus::find(0, told).read(|_| Load::default(), 1.0).len();
        assert_eq!((count(&[]), count(&[Gpu::named("A"), Gpu::named("B")])), (0, 2));
    }
}
