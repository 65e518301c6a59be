//! The file of an endpoint that is there: only what differs from the defaults, so that it reads as one would write it.

use std::collections::BTreeMap;

use runyard_domain::Settings;
use serde_json::{Value, json};
use toml::{Table, Value as Toml};

use crate::places::{flat, key_of};
use crate::units::{Bytes, Size, Span};

/// An endpoint as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub settings: Settings,
    /// The handler of the release that serves, where its workers are processes.
    pub handler: Option<String>,
    /// The image of the release that serves, where it was not built here.
    pub image: Option<String>,
    /// Its variables.
    pub env: BTreeMap<String, String>,
}

/// Its file.
pub fn write(live: &Live) -> String {
    let mut file = Table::new();
    put(&mut file, "name", live.name.clone().into());
    if let Some(handler) = live.handler.as_ref().filter(|handler| *handler != "handler.py") {
        put(&mut file, "build.handler", handler.clone().into());
    }
    if let Some(image) = &live.image {
        put(&mut file, "build.image", image.clone().into());
    }
    let (secrets, plain): (Vec<_>, Vec<_>) =
        live.env.iter().partition(|(name, value)| is_secret(name, value));
    if !plain.is_empty() {
        let plain: Table = plain.into_iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        put(&mut file, "run.env", Toml::Table(plain));
    }
    if !secrets.is_empty() {
        let names: Vec<Toml> = secrets.into_iter().map(|(name, _)| name.clone().into()).collect();
        put(&mut file, "run.secrets", Toml::Array(names));
    }
    for (setting, value) in differing(&live.settings) {
        put(&mut file, key_of(&setting), toml_of(&typed(&setting, &value)));
    }
    toml::to_string_pretty(&file).unwrap_or_default()
}

/// A variable that is filled with the secret of its own name.
fn is_secret(name: &str, value: &str) -> bool {
    let inner = value.strip_prefix("{{").and_then(|value| value.strip_suffix("}}"));
    inner.is_some_and(|inner| inner.trim().strip_prefix("RUNPOD_SECRET_") == Some(name))
}

/// Settings that are not the usual ones.
fn differing(settings: &Settings) -> Vec<(String, Value)> {
    let of = |settings: &Settings| flat(&serde_json::to_value(settings).unwrap_or_default());
    let usual = of(&Settings::default());
    of(settings).into_iter().filter(|(name, value)| usual.get(name) != Some(value)).collect()
}

/// A setting's value as the file has it, with its unit.
pub fn typed(setting: &str, value: &Value) -> Value {
    let number = value.as_i64().unwrap_or_default();
    match setting {
        _ if value.is_null() => Value::Null,
        "scaler" if value["type"] == "REQUEST_COUNT" => json!({"requests": value["value"]}),
        "scaler" => {
            let seconds = value["value"].as_f64().unwrap_or_default();
            json!({"queue_delay": Span::typed((seconds * 1_000.0).round() as i64)})
        }
        "container.volumes" => {
            let volume = |volume: &Value| {
                let path = volume["path"].as_str().unwrap_or_default();
                let path = if volume["read_only"] == true { format!("{path}:ro") } else { path.to_owned() };
                (volume["name"].as_str().unwrap_or_default().to_owned(), path.into())
            };
            Value::Object(value.as_array().into_iter().flatten().map(volume).collect())
        }
        "container.cpu_millis" => json!(number as f64 / 1_000.0),
        "container.memory_mib" | "container.shm_mib" => Size::typed(number as u32).into(),
        name if name.ends_with("_bytes") => Bytes::typed(value.as_u64().unwrap_or_default()).into(),
        name if name.ends_with("_ms") => Span::typed(number).into(),
        name if name.ends_with("_s") => Span::typed(number * 1_000).into(),
        _ => value.clone(),
    }
}

/// JSON as TOML, which has no null.
fn toml_of(value: &Value) -> Toml {
    match value {
        Value::Null => Toml::String(String::new()),
        Value::Bool(yes) => Toml::Boolean(*yes),
        Value::Number(n) => {
            n.as_i64().map_or_else(|| Toml::Float(n.as_f64().unwrap_or_default()), Toml::Integer)
        }
        Value::String(text) => Toml::String(text.clone()),
        Value::Array(all) => Toml::Array(all.iter().map(toml_of).collect()),
        Value::Object(map) => {
            Toml::Table(map.iter().map(|(key, value)| (key.clone(), toml_of(value))).collect())
        }
    }
}

/// Puts a value at `section.key`.
fn put(file: &mut Table, key: &str, value: Toml) {
    let Some((section, key)) = key.split_once('.') else {
        file.insert(key.to_owned(), value);
        return;
    };
    let section = file.entry(section.to_owned()).or_insert_with(|| Toml::Table(Table::new()));
    if let Toml::Table(section) = section {
        section.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use runyard_domain::image::Volume;
    use runyard_domain::rollout::Portion;
    use runyard_domain::{FlashBoot, Prefetch, Rates, Scaler};

    use super::*;
    use crate::{Source, read};

    #[test]
    fn what_is_written_reads_as_the_same() {
        let mut settings = Settings {
            workers_min: 2,
            workers_max: 7,
            idle_timeout_s: 90,
            scaler: Scaler::RequestCount(3),
            execution_timeout_ms: 0,
            ttl_ms: 90_500,
            start_timeout_s: 60,
            requeues: 4,
            retention_ms: 5_000,
            queue_limit: 10,
            rates: Rates([("run".parse().expect("a group"), "9/3".parse().expect("a rate"))].into()),
            gpus: "2xh100,2xADA_24".parse().expect("GPUs"),
            flash_boot: FlashBoot::Priority,
            input_limit_bytes: 1_536,
            output_limit_bytes: 5 << 20,
            cors: vec!["https://app.example".parse().expect("an origin")],
            concurrency: 5,
            prefetch: Prefetch::Off,
            stop_grace_ms: 1_500,
            replace_grace_ms: 2_000,
            ..Settings::default()
        };
        settings.rollout.surge = Portion::Workers(2);
        settings.rollout.watch_ms = 1_000;
        settings.container.cpu_millis = 1_500;
        settings.container.memory_mib = 2_048;
        settings.container.registry = "hub".into();
        settings.container.volumes =
            vec![Volume { name: "data".into(), path: "/data".into(), read_only: true }];
        settings.network_volume = Some("v0lume".into());
        let env = [("A", "1"), ("T", "{{ RUNPOD_SECRET_T }}")];
        let env: BTreeMap<_, _> = env.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let live = Live {
            name: "x".into(),
            settings: settings.clone(),
            handler: Some("src/main.py".into()),
            image: None,
            env: env.clone(),
        };
        let text = write(&live);
        let wanted = read(&text, None).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(wanted.name.as_deref(), Some("x"));
        assert_eq!(wanted.source, Source::Handler("src/main.py".into()));
        assert_eq!((wanted.settings, wanted.env), (settings, env), "{text}");
    }

    #[test]
    fn what_is_usual_is_not_written() {
        let live = Live {
            name: "x".into(),
            settings: Settings::default(),
            handler: Some("handler.py".into()),
            image: None,
            env: BTreeMap::new(),
        };
        assert_eq!(write(&live), "name = \"x\"\n");
    }
}
