//! The file of an endpoint that is there: only what differs from the defaults, so that it reads as one would write it.

use std::collections::BTreeMap;

use runyard_domain::{PythonWish, Settings};
use serde::Deserialize;
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
    /// What was asked of its interpreter and requirements.
    pub python: PythonWish,
    /// How its image is made, where its workers are containers.
    pub built: Option<Built>,
    /// Its variables.
    pub env: BTreeMap<String, String>,
}

/// How an image is made, in the words of the API.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Built {
    /// A ready image.
    pub image: Option<String>,
    /// The Dockerfile.
    pub dockerfile: Option<String>,
    /// Values for its `ARG`s.
    pub args: BTreeMap<String, String>,
    /// The stage.
    pub target: Option<String>,
    /// The platform.
    pub platform: Option<String>,
    /// What is run instead of the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// What is run instead of the image's command.
    pub command: Option<Vec<String>>,
}

/// Its file.
pub fn write(live: &Live) -> String {
    let mut file = Table::new();
    put(&mut file, "name", live.name.clone().into());
    if let Some(handler) = live.handler.as_ref().filter(|handler| *handler != "handler.py") {
        put(&mut file, "build.handler", handler.clone().into());
    }
    let PythonWish { version, requirements } = &live.python;
    let texts = [("build.python", version), ("build.requirements", requirements)];
    put_texts(&mut file, &texts);
    if let Some(built) = &live.built {
        put_built(&mut file, built);
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

fn put_texts(file: &mut Table, texts: &[(&str, &Option<String>)]) {
    for (key, text) in texts {
        if let Some(text) = text {
            put(file, key, text.clone().into());
        }
    }
}

fn put_built(file: &mut Table, built: &Built) {
    let Built { image, dockerfile, args, target, platform, entrypoint, command } = built;
    let texts = [
        ("build.image", image),
        ("build.dockerfile", dockerfile),
        ("build.target", target),
        ("build.platform", platform),
    ];
    put_texts(file, &texts);
    if !args.is_empty() {
        let args: Table = args.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        put(file, "build.args", Toml::Table(args));
    }
    for (key, words) in [("run.entrypoint", entrypoint), ("run.command", command)] {
        if let Some(words) = words {
            put(file, key, Toml::Array(words.iter().map(|word| word.clone().into()).collect()));
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
        settings.log_level = runyard_domain::LogLevel::Warn;
        settings.log_retention_ms = 7_200_000;
        let env = [("A", "1"), ("T", "{{ RUNPOD_SECRET_T }}")];
        let env: BTreeMap<_, _> = env.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let live = Live {
            name: "x".into(),
            settings: settings.clone(),
            handler: Some("src/main.py".into()),
            python: PythonWish { version: Some(">=3.10".into()), requirements: Some("r/a.txt".into()) },
            built: None,
            env: env.clone(),
        };
        let text = write(&live);
        let wanted = read(&text, None).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(wanted.name.as_deref(), Some("x"));
        assert_eq!(wanted.source, Source::Handler("src/main.py".into()));
        assert_eq!(wanted.python, live.python);
        assert_eq!((wanted.settings, wanted.env), (settings, env), "{text}");
    }

    #[test]
    fn images_are_written_as_they_were_asked_for() {
        let words = |words: [&str; 2]| Some(words.map(str::to_owned).to_vec());
        let built = Built {
            dockerfile: Some("docker/Dockerfile".into()),
            args: [("A".to_owned(), "1".to_owned())].into(),
            target: Some("runtime".into()),
            platform: Some("linux/amd64".into()),
            entrypoint: words(["sh", "-c"]),
            command: words(["a b", "c"]),
            image: None,
        };
        let live = Live { name: "x".into(), built: Some(built), ..usual() };
        let wanted = read(&write(&live), None).expect("a file");
        let source = Source::Dockerfile {
            file: Some("docker/Dockerfile".into()),
            args: [("A".to_owned(), "1".to_owned())].into(),
            target: Some("runtime".into()),
            platform: Some("linux/amd64".into()),
        };
        assert_eq!(wanted.source, source);
        assert_eq!((wanted.entrypoint, wanted.command), (words(["sh", "-c"]), words(["a b", "c"])));
    }

    fn usual() -> Live {
        Live {
            name: "x".into(),
            settings: Settings::default(),
            handler: Some("handler.py".into()),
            python: PythonWish::default(),
            built: None,
            env: BTreeMap::new(),
        }
    }

    #[test]
    fn what_is_usual_is_not_written() {
        assert_eq!(write(&usual()), "name = \"x\"\n");
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;
    use runyard_domain::image::Volume;
    use runyard_domain::rollout::Portion;
    use runyard_domain::{LogLevel, Prefetch, Rates, Scaler};

    use super::*;
    use crate::{Source, read};

    fn scaler() -> impl Strategy<Value = Scaler> {
        prop_oneof![
            (500_u32..3_600_000).prop_map(|ms| Scaler::QueueDelay(f64::from(ms) / 1_000.0)),
            (1_u32..=10_000).prop_map(Scaler::RequestCount),
        ]
    }

    fn portion() -> impl Strategy<Value = Portion> {
        prop_oneof![(1_u32..50).prop_map(Portion::Workers), (1_u32..=100).prop_map(Portion::Percent)]
    }

    fn level() -> impl Strategy<Value = LogLevel> {
        prop_oneof![Just(LogLevel::Debug), Just(LogLevel::Info), Just(LogLevel::Warn), Just(LogLevel::Error)]
    }

    prop_compose! {
        fn scaling()(
            workers_min in 0_u32..4, more in 0_u32..996, idle in 1_u32..=3600, scaler in scaler(),
            concurrency in 1_u32..=1000, off: bool,
            gpus in "([0-9]|2x24GB|rtx4090|h100,a100,-l4)",
        ) -> Settings {
            Settings {
                workers_min, workers_max: workers_min + more, idle_timeout_s: idle, scaler, concurrency,
                gpus: gpus.parse().expect("GPUs"),
                prefetch: if off { Prefetch::Off } else { Prefetch::Auto },
                ..Settings::default()
            }
        }
    }

    prop_compose! {
        fn limited()(
            settings in scaling(), execution in 5_000_i64..604_800_000, ttl in 10_000_i64..604_800_000,
            start in 1_u32..=7200, requeues in 0_u32..=20, retention in 1_000_i64..2_592_000_000, queue: u32,
            stop in 0_i64..600_000, replace in 0_i64..3_600_000, level in level(),
            logs in 3_600_000_i64..31_536_000_000, rate in 1_u32..1000,
        ) -> Settings {
            let rate = format!("{rate}/{}", rate * 2).parse().expect("a rate");
            Settings {
                execution_timeout_ms: execution, ttl_ms: ttl, start_timeout_s: start, requeues, queue_limit: queue,
                retention_ms: retention, stop_grace_ms: stop, replace_grace_ms: replace, log_level: level,
                log_retention_ms: logs, rates: Rates([("run".parse().expect("a group"), rate)].into()),
                ..settings
            }
        }
    }

    prop_compose! {
        fn settings()(
            settings in limited(), surge in portion(), unavailable in portion(), margin in 1_u32..=100,
            cpu in 10_u32..64_000, memory in 6_u32..1_000_000, pids in 0_u32..10_000, read_only: bool,
            volume in "[a-z][a-z0-9-]{0,10}", network: bool,
        ) -> Settings {
            let mut settings = settings;
            (settings.rollout.surge, settings.rollout.max_unavailable) = (surge, unavailable);
            settings.rollout.error_margin = margin;
            settings.container.cpu_millis = cpu;
            (settings.container.memory_mib, settings.container.shm_mib) = (memory, memory / 2);
            settings.container.pids = pids;
            settings.container.volumes = vec![Volume { name: volume, path: "/data".into(), read_only }];
            settings.network_volume = network.then(|| "v0lume".into());
            settings
        }
    }

    proptest! {
        /// Whatever an endpoint is, its file asks for exactly that.
        #[test]
        fn every_endpoint_can_be_written(
            settings in settings(),
            env in proptest::collection::btree_map("[A-Z_]{1,8}", "\\PC{0,20}", 0..4),
            secret: bool,
            handler in "[a-z]{1,8}/[a-z]{1,8}\\.py",
            python in proptest::option::of("3\\.(8|1[0-4])"),
        ) {
            prop_assume!(settings.check().is_ok());
            let mut env = env;
            if secret {
                env.insert("TOKEN".into(), "{{ RUNPOD_SECRET_TOKEN }}".into());
            }
            let python = PythonWish { version: python, requirements: None };
            let live = Live {
                name: "x".into(), settings: settings.clone(), handler: Some(handler.clone()), python: python.clone(),
                built: None, env: env.clone(),
            };
            let text = write(&live);
            let wanted = read(&text, None).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(wanted.settings, settings, "{}", text);
            prop_assert_eq!((wanted.env, wanted.python), (env, python), "{}", text);
            prop_assert_eq!(wanted.source, Source::Handler(handler));
        }
    }
}
