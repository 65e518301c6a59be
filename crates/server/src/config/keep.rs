//! The part of the configuration that says what keeps its place on the disk.

use runyard_domain::keep::KeepRules;

use super::{File, Layers, between};
use crate::ServerError;

/// What keeps its place.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Releases whose code stays.
    pub releases: KeepRules,
    /// Installers' caches may be so large, in bytes; 0: as large as they become.
    pub cache_bytes: u64,
    /// Logs stay so long, in days, and take so much of each endpoint, in bytes; 0: without this bound.
    pub logs_days: u64,
    /// See `logs_days`.
    pub logs_bytes: u64,
    /// The container engine's cache of builds may be so large, in bytes; 0: it is none of ours.
    pub build_cache_bytes: u64,
}

impl Keep {
    pub(super) fn pick(layers: &mut Layers, file: &File) -> Result<Self, ServerError> {
        let mut number = |key: &str, value: Option<u64>, default: u64, most: u64| {
            let value = layers.pick(key, None, value, Some(default))?.unwrap_or(default);
            between(key, value, 0, most)?;
            Ok::<u64, ServerError>(value)
        };
        let newest = number("keep_releases", file.keep_releases, 20, 10_000)?;
        let days = number("keep_releases_days", file.keep_releases_days, 30, 36_500)?;
        let cache_mib = number("cache_mib", file.cache_mib, 10_240, 1 << 30)?;
        let build_cache_mib = number("build_cache_mib", file.build_cache_mib, 0, 1 << 30)?;
        let logs_days = number("logs_days", file.logs_days, 14, 36_500)?;
        let logs_mib = number("logs_mib", file.logs_mib, 5_120, 1 << 30)?;
        let releases = KeepRules { newest: newest as usize, age_ms: days as i64 * 86_400_000 };
        Ok(Self {
            releases,
            cache_bytes: cache_mib << 20,
            logs_days,
            logs_bytes: logs_mib << 20,
            build_cache_bytes: build_cache_mib << 20,
        })
    }
}
