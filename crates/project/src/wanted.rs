//! What a file asks for, with every default filled in: the file is the whole truth of what it can say.

use std::collections::BTreeMap;

use runyard_domain::image::{Container, Volume};
use runyard_domain::rates::Rates;
use runyard_domain::{Prefetch, PythonWish, RolloutSettings, Scaler, Settings};
use serde_json::{Value, json};

use crate::file::{self, File, Status};
use crate::read::FileError;
use crate::units::Span;

/// An endpoint as its file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The endpoint's name, where the file has one. For an environment that names none, the name with `-ENVIRONMENT`.
    pub name: Option<String>,
    /// The environment that was chosen.
    pub environment: Option<String>,
    /// What is run.
    pub source: Source,
    /// What is run instead of the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// What is run instead of the image's command.
    pub command: Option<Vec<String>>,
    /// What is asked of a handler's interpreter and requirements.
    pub python: PythonWish,
    /// Every setting.
    pub settings: Settings,
    /// Variables; those that are secrets name theirs.
    pub env: BTreeMap<String, String>,
    /// Requests before traffic; where there are none, the folder's own are run.
    pub tests: Vec<Test>,
    /// What it says that no server obeys yet, by its keys: budgets.
    pub not_applied: BTreeMap<String, Value>,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Whatever the folder has: its Dockerfile, else its handler.
    Folder,
    /// This handler.
    Handler(String),
    /// What is built of the folder.
    Dockerfile {
        /// The file, below the folder; else `Dockerfile`.
        file: Option<String>,
        /// Values for its `ARG`s.
        args: BTreeMap<String, String>,
        /// The stage.
        target: Option<String>,
        /// The platform.
        platform: Option<String>,
    },
    /// A ready image.
    Image {
        /// Its name.
        name: String,
        /// The platform.
        platform: Option<String>,
    },
}

/// A request that a release has to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// The job's input.
    pub input: Value,
    /// How long it may take.
    pub timeout_ms: Option<i64>,
    /// What has to come of it.
    pub expected: Expected,
}

/// What has to come of a test.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expected {
    /// The handler is to fail.
    pub failure: bool,
    /// What its output has to be, or to have.
    pub output: Option<Value>,
}

impl Wanted {
    /// Fills in what the file leaves out. `environment` is named where it gives the name a suffix.
    pub(crate) fn of(file: File, environment: Option<&str>, is_named: bool) -> Result<Self, FileError> {
        let File { name, kind: _, build, run, scale, limits, web, rollout, logs, budget, test, env: _ } =
            file;
        let name = match (name, environment) {
            (Some(name), Some(environment)) if !is_named => Some(format!("{name}-{environment}")),
            (name, _) => name,
        };
        let registry = build.registry.clone();
        let not_applied = not_applied(&budget, &limits)?;
        let python = python(&build)?;
        let source = source(build)?;
        if !python.is_empty() && matches!(source, Source::Dockerfile { .. } | Source::Image { .. }) {
            return Err(FileError::meaning(
                "build.python and build.requirements are for handlers: an image brings its own",
            ));
        }
        let env = variables(&run)?;
        let tests = test.into_iter().enumerate().map(|(at, case)| Test::of(at, case)).collect();
        let (entrypoint, command) = (run.entrypoint.clone(), run.command.clone());
        let takes_words = matches!(source, Source::Dockerfile { .. } | Source::Image { .. } | Source::Folder);
        if !takes_words && (entrypoint.is_some() || command.is_some()) {
            return Err(FileError::meaning(
                "run.entrypoint and run.command are for containers, and build.handler is none",
            ));
        }
        let mut settings = settings(&run, &scale, limits, &rollout, &logs)?;
        settings.cors = web.cors.unwrap_or(settings.cors);
        settings.container.registry = registry.unwrap_or_default();
        settings.check().map_err(|wrong| {
            let key = crate::places::key_of(wrong.field);
            FileError::meaning(format!("{key} is {}: it must be {}", wrong.found, wrong.allowed))
        })?;
        let environment = environment.map(str::to_owned);
        Ok(Self { name, environment, source, entrypoint, command, python, settings, env, tests, not_applied })
    }
}

fn source(build: file::Build) -> Result<Source, FileError> {
    let file::Build { handler, dockerfile, image, args, target, platform, .. } = build;
    let of_a_build = !args.is_empty() || target.is_some();
    match (handler, dockerfile, image) {
        (None, None, Some(_)) if of_a_build => Err(FileError::meaning(
            "build.args and build.target are for a Dockerfile, and build.image is ready",
        )),
        (None, None, Some(name)) => Ok(Source::Image { name, platform }),
        (Some(_), None, None) if of_a_build || platform.is_some() => Err(FileError::meaning(
            "build.args, build.target and build.platform are for images, and build.handler is none",
        )),
        (Some(handler), None, None) => Ok(Source::Handler(handler)),
        (None, None, None) if !of_a_build && platform.is_none() => Ok(Source::Folder),
        (None, file, None) => Ok(Source::Dockerfile { file, args, target, platform }),
        _ => Err(FileError::meaning("[build] names more than one of handler, dockerfile and image")),
    }
}

fn python(build: &file::Build) -> Result<PythonWish, FileError> {
    let wish = PythonWish {
        version: build.python.clone(),
        requirements: build.requirements.as_ref().map(|file| file.trim_start_matches("./").to_owned()),
    };
    match wish.wrong() {
        Some(("version", allowed)) => Err(FileError::meaning(format!("build.python must be {allowed}"))),
        Some((_, allowed)) => Err(FileError::meaning(format!("build.requirements must be {allowed}"))),
        None => Ok(wish),
    }
}

/// What is read, and obeyed by nobody yet.
fn not_applied(budget: &file::Budget, limits: &file::Limits) -> Result<BTreeMap<String, Value>, FileError> {
    let file::Budget { hourly, daily, weekly, monthly, lifetime, at_cap, alerts } = budget;
    let sums = [
        ("budget.hourly", hourly),
        ("budget.daily", daily),
        ("budget.weekly", weekly),
        ("budget.monthly", monthly),
        ("budget.lifetime", lifetime),
        ("limits.max_cost_per_job", &limits.max_cost_per_job),
    ];
    let mut said = BTreeMap::new();
    for (key, sum) in sums {
        match *sum {
            Some(sum) if !(0.0..=1e12).contains(&sum) => {
                return Err(FileError::meaning(format!("{key} is {sum}: it must be a sum of money")));
            }
            Some(sum) => drop(said.insert(key.to_owned(), json!(sum))),
            None => {}
        }
    }
    if let Some(at_cap) = at_cap {
        said.insert("budget.at_cap".to_owned(), json!(at_cap));
    }
    if let Some(odd) = alerts.iter().find(|percent| !(1..=1000).contains(*percent)) {
        return Err(FileError::meaning(format!("budget.alerts has {odd}: each is 1 to 1000 percent")));
    }
    if !alerts.is_empty() {
        said.insert("budget.alerts".to_owned(), json!(alerts));
    }
    Ok(said)
}

/// Plain variables, and secrets by the reference that RunPod has for them.
fn variables(run: &file::Run) -> Result<BTreeMap<String, String>, FileError> {
    let mut env = run.env.clone();
    for name in &run.secrets {
        let reference = format!("{{{{ RUNPOD_SECRET_{name} }}}}");
        if env.insert(name.clone(), reference).is_some() {
            return Err(FileError::meaning(format!("{name} is in run.env and in run.secrets")));
        }
    }
    Ok(env)
}

fn settings(
    run: &file::Run,
    scale: &file::Scale,
    limits: file::Limits,
    rollout: &file::Rollout,
    logs: &file::Logs,
) -> Result<Settings, FileError> {
    let usual = Settings::default();
    let ms = |span: Option<Span>, usual: i64| span.map_or(usual, |span| span.0);
    Ok(Settings {
        workers_min: scale.min.unwrap_or(usual.workers_min),
        workers_max: scale.max.unwrap_or(usual.workers_max),
        idle_timeout_s: scale.idle.map_or(usual.idle_timeout_s, Span::seconds),
        scaler: scaler(&scale.target)?.unwrap_or(usual.scaler),
        concurrency: scale.concurrency.unwrap_or(usual.concurrency),
        prefetch: match scale.prefetch {
            Some(file::Prefetch::Off) => Prefetch::Off,
            _ => Prefetch::Auto,
        },
        execution_timeout_ms: ms(limits.execution, usual.execution_timeout_ms),
        ttl_ms: ms(limits.ttl, usual.ttl_ms),
        requeues: limits.retries.unwrap_or(usual.requeues),
        start_timeout_s: limits.start.map_or(usual.start_timeout_s, Span::seconds),
        retention_ms: ms(limits.result_retention, usual.retention_ms),
        queue_limit: limits.queue.unwrap_or(usual.queue_limit),
        rates: rates(limits.rates)?,
        stop_grace_ms: ms(limits.stop_grace, usual.stop_grace_ms),
        replace_grace_ms: ms(limits.replace_grace, usual.replace_grace_ms),
        gpus: run.gpu.as_ref().map_or(usual.gpus, |gpus| gpus.0.clone()),
        flash_boot: run.flashboot.unwrap_or(usual.flash_boot),
        input_limit_bytes: limits.input.map_or(usual.input_limit_bytes, |size| size.0),
        output_limit_bytes: limits.output.map_or(usual.output_limit_bytes, |size| size.0),
        cors: usual.cors,
        rollout: releases(rollout),
        container: container(run)?,
        network_volume: run.network_volume.clone(),
        log_level: logs.level.unwrap_or(usual.log_level),
        log_retention_ms: ms(logs.retention, usual.log_retention_ms),
    })
}

fn scaler(target: &file::Target) -> Result<Option<Scaler>, FileError> {
    match (target.queue_delay, target.requests) {
        (Some(_), Some(_)) => Err(FileError::meaning("scale.target names both queue_delay and requests")),
        (Some(delay), None) => Ok(Some(Scaler::QueueDelay(delay.0 as f64 / 1_000.0))),
        (None, Some(requests)) => Ok(Some(Scaler::RequestCount(requests))),
        (None, None) => Ok(None),
    }
}

fn rates(given: BTreeMap<String, String>) -> Result<Rates, FileError> {
    let rate = |(group, rate): (String, String)| {
        let wrong = |why: String| FileError::meaning(format!("limits.rates.{group}: {why}"));
        Ok((group.parse().map_err(wrong)?, rate.parse().map_err(wrong)?))
    };
    Ok(Rates(given.into_iter().map(rate).collect::<Result<_, _>>()?))
}

fn releases(rollout: &file::Rollout) -> RolloutSettings {
    let usual = RolloutSettings::default();
    RolloutSettings {
        surge: rollout.surge.unwrap_or(usual.surge),
        max_unavailable: rollout.max_unavailable.unwrap_or(usual.max_unavailable),
        watch_ms: rollout.watch.map_or(usual.watch_ms, |span| span.0),
        failed_starts: rollout.failed_starts.unwrap_or(usual.failed_starts),
        error_margin: rollout.error_margin.unwrap_or(usual.error_margin),
        error_jobs: rollout.error_jobs.unwrap_or(usual.error_jobs),
        canary_ms: rollout.canary.map_or(usual.canary_ms, |span| span.0),
        canary_jobs: rollout.canary_jobs.unwrap_or(usual.canary_jobs),
    }
}

fn container(run: &file::Run) -> Result<Container, FileError> {
    let usual = Container::default();
    let volumes = run.volumes.iter().map(|(name, path)| {
        let (path, read_only) = path.strip_suffix(":ro").map_or((path.as_str(), false), |path| (path, true));
        Volume { name: name.clone(), path: path.to_owned(), read_only }
    });
    let cpu = run.cpu.map(|cpu| (cpu * 1_000.0).round());
    if cpu.is_some_and(|millis| !(0.0..=4_000_000.0).contains(&millis)) {
        return Err(FileError::meaning("run.cpu is a number of processors, as 1.5"));
    }
    Ok(Container {
        cpu_millis: cpu.map_or(usual.cpu_millis, |millis| millis as u32),
        memory_mib: run.memory.map_or(usual.memory_mib, |size| size.0),
        pids: run.pids.unwrap_or(usual.pids),
        shm_mib: run.shm.map_or(usual.shm_mib, |size| size.0),
        volumes: volumes.collect(),
        registry: usual.registry,
    })
}

impl Test {
    fn of(at: usize, case: file::Case) -> Self {
        let file::Case { name, input, timeout, expect } = case;
        Self {
            name: name.unwrap_or_else(|| format!("test {}", at + 1)),
            input: of_toml(input),
            timeout_ms: timeout.map(|span| span.0),
            expected: Expected {
                failure: expect.status == Some(Status::Failed),
                output: expect.output.map(of_toml),
            },
        }
    }
}

/// TOML as JSON; dates become text.
fn of_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(n) => n.into(),
        toml::Value::Float(n) => n.into(),
        toml::Value::Boolean(yes) => yes.into(),
        toml::Value::Datetime(at) => at.to_string().into(),
        toml::Value::Array(all) => all.into_iter().map(of_toml).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, of_toml(value))).collect(),
    }
}
