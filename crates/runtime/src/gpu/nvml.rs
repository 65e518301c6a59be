//! NVIDIA's management library. A GPU that does not answer a question leaves that answer out.

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;

use super::Reading;

/// What containers have, which lack the shorter name.
const NAME: &str = "libnvidia-ml.so.1";

#[derive(Debug)]
pub(super) struct Library(Nvml);

impl Library {
    /// Loads it.
    pub(super) fn load() -> Result<Self, NvmlError> {
        let found = Nvml::builder().lib_path(NAME.as_ref()).init();
        found.or_else(|_| Nvml::init()).map(Self)
    }

    /// What each GPU does.
    pub(super) fn read(&self) -> Vec<Reading> {
        let count = self.0.device_count().unwrap_or(0);
        (0..count).filter_map(|index| self.one(index)).collect()
    }

    fn one(&self, index: u32) -> Option<Reading> {
        let device = self.0.device_by_index(index).ok()?;
        let memory = device.memory_info().ok();
        Some(Reading {
            index,
            name: device.name().ok(),
            use_ratio: device.utilization_rates().ok().map(|rates| f64::from(rates.gpu) / 100.0),
            memory_used: memory.as_ref().map(|memory| memory.used),
            memory_total: memory.map(|memory| memory.total),
            // It says milliwatts.
            power_watts: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1_000.0),
            celsius: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        })
    }
}
