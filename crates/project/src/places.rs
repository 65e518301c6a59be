//! Which key of the file stands for which setting of an endpoint.

use serde_json::{Map, Value};

/// A setting as the API has it, and the file's key. Those of a group are `group.name`.
pub const PLACES: [(&str, &str); 39] = [
    ("workers_min", "scale.min"),
    ("workers_max", "scale.max"),
    ("idle_timeout_s", "scale.idle"),
    ("scaler", "scale.target"),
    ("concurrency", "scale.concurrency"),
    ("prefetch", "scale.prefetch"),
    ("execution_timeout_ms", "limits.execution"),
    ("ttl_ms", "limits.ttl"),
    ("requeues", "limits.retries"),
    ("start_timeout_s", "limits.start"),
    ("retention_ms", "limits.result_retention"),
    ("queue_limit", "limits.queue"),
    ("rates", "limits.rates"),
    ("stop_grace_ms", "limits.stop_grace"),
    ("replace_grace_ms", "limits.replace_grace"),
    ("gpus", "run.gpu"),
    ("flash_boot", "run.flashboot"),
    ("input_limit_bytes", "limits.input"),
    ("output_limit_bytes", "limits.output"),
    ("cors", "web.cors"),
    ("container.cpu_millis", "run.cpu"),
    ("container.memory_mib", "run.memory"),
    ("container.shm_mib", "run.shm"),
    ("container.pids", "run.pids"),
    ("container.volumes", "run.volumes"),
    ("container.registry", "build.registry"),
    ("network_volume", "run.network_volume"),
    ("rollout.surge", "rollout.surge"),
    ("rollout.max_unavailable", "rollout.max_unavailable"),
    ("rollout.watch_ms", "rollout.watch"),
    ("rollout.failed_starts", "rollout.failed_starts"),
    ("rollout.error_margin", "rollout.error_margin"),
    ("rollout.error_jobs", "rollout.error_jobs"),
    ("rollout.canary_ms", "rollout.canary"),
    ("rollout.canary_jobs", "rollout.canary_jobs"),
    ("log_level", "logs.level"),
    ("log_retention_ms", "logs.retention"),
    ("env", "run.env"),
    ("handler", "build.handler"),
];

/// The file's key of a setting; the setting's own name where the file has none.
pub fn key_of(setting: &str) -> &str {
    PLACES.iter().find(|(name, _)| *name == setting).map_or(setting, |(_, key)| key)
}

/// Settings side by side: those of groups one by one, everything else as it is.
pub fn flat(settings: &Value) -> Map<String, Value> {
    const GROUPS: [&str; 2] = ["container", "rollout"];
    let mut flat = Map::new();
    for (name, value) in settings.as_object().into_iter().flatten() {
        match value {
            Value::Object(group) if GROUPS.contains(&name.as_str()) => {
                flat.extend(group.iter().map(|(part, value)| (format!("{name}.{part}"), value.clone())));
            }
            value => drop(flat.insert(name.clone(), value.clone())),
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use runyard_domain::Settings;

    use super::*;

    #[test]
    fn every_setting_has_a_key() {
        let settings = serde_json::to_value(Settings::default()).expect("settings are JSON");
        for setting in flat(&settings).keys() {
            assert!(PLACES.iter().any(|(name, _)| name == setting), "{setting} has no key in the file");
        }
    }
}
