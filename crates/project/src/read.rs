//! Reading the file: mistakes with their place, and an environment laid over the rest.

use serde::Deserialize as _;
use thiserror::Error;
use toml::{Table, Value};

use crate::file::{File, lay_over};
use crate::{FILE, LARGEST, Wanted};

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FileError {
    /// Something in it cannot be read.
    #[error("{FILE}: line {line}, column {column}: {problem}")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What.
        problem: String,
    },
    /// Each key can be read, and together they make no sense.
    #[error("{FILE}: {0}")]
    Meaning(String),
    /// There is no such environment.
    #[error("{FILE} has no environment '{wanted}'; {known}")]
    NoEnvironment {
        /// Which.
        wanted: String,
        /// Those there are, in words.
        known: String,
    },
    /// It is larger than [`LARGEST`].
    #[error("{FILE} has more than {LARGEST} bytes")]
    Large,
}

impl FileError {
    pub(crate) fn meaning(what: impl Into<String>) -> Self {
        Self::Meaning(what.into())
    }

    fn at(text: &str, error: &toml::de::Error) -> Self {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let problem = error.message().trim().replace('\n', "; ");
        Self::Malformed { line, column, problem: not_yet(&problem).unwrap_or(problem) }
    }
}

/// Words that one would expect in a file and that there are not, with what to do instead.
const NOT_YET: [(&str, &str); 6] = [
    (
        "unknown field `git`",
        "build.git does not exist: 'runyard git connect URL' has an endpoint follow a repository and its runyard.toml",
    ),
    (
        "unknown field `model`",
        "run.model does not exist yet, nothing fetches models ahead of workers: put the model into the folder, the \
         image or a network volume",
    ),
    ("unknown field `disk`", "run.disk does not exist yet: nothing bounds the disk of one worker"),
    ("unknown variant `http`", "type = \"http\" does not exist yet: endpoints take jobs, which is \"queue\""),
    (
        "unknown variant `lambda`",
        "type = \"lambda\" does not exist yet: endpoints take jobs, which is \"queue\"",
    ),
    ("unknown variant `pod`", "type = \"pod\" does not exist yet: endpoints take jobs, which is \"queue\""),
];

/// The better sentence for a word that there is not yet.
fn not_yet(problem: &str) -> Option<String> {
    NOT_YET.iter().find(|(said, _)| problem.contains(said)).map(|(_, better)| (*better).to_owned())
}

/// What a file asks for, as `environment` has it.
pub fn read(text: &str, environment: Option<&str>) -> Result<Wanted, FileError> {
    if text.len() > LARGEST {
        return Err(FileError::Large);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file: File = toml::from_str(text).map_err(|error| FileError::at(text, &error))?;
    let Some(environment) = environment else { return Wanted::of(file, None, false) };
    if !file.env.contains_key(environment) {
        let names: Vec<&str> = file.env.keys().map(String::as_str).collect();
        let known = if names.is_empty() {
            "write it as [env.NAME]".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        return Err(FileError::NoEnvironment { wanted: environment.to_owned(), known });
    }
    let (file, is_named) = overlaid(text, environment)?;
    Wanted::of(file, Some(environment), is_named)
}

/// The file with an environment laid over it, and whether that has a name of its own. Its parts were read one by one
/// before, so what is wrong here is how they go together.
fn overlaid(text: &str, environment: &str) -> Result<(File, bool), FileError> {
    let mut base: Table = toml::from_str(text).map_err(|error| FileError::at(text, &error))?;
    let environments = match base.remove("env") {
        Some(Value::Table(environments)) => environments,
        _ => Table::new(),
    };
    let over = match environments.into_iter().find(|(name, _)| name == environment) {
        Some((_, Value::Table(over))) => over,
        _ => Table::new(),
    };
    let is_named = over.contains_key("name");
    lay_over(&mut base, over);
    let file = File::deserialize(Value::Table(base));
    let file =
        file.map_err(|error| FileError::meaning(format!("[env.{environment}]: {}", error.message())))?;
    Ok((file, is_named))
}

#[cfg(test)]
mod tests {
    use runyard_domain::rollout::Portion;
    use runyard_domain::{Scaler, Settings};
    use serde_json::json;

    use super::*;
    use crate::Source;

    const WHOLE: &str = r#"
name = "whisper"
type = "queue"

[build]
handler = "handler.py"

[run]
gpu = "2xany"
env = { MODEL = "base" }
secrets = ["HF_TOKEN"]

[scale]
min = 1
max = 4
idle = "60s"
target = { queue_delay = "2.5s" }

[limits]
execution = "10m"
retries = 2
rates = { run = "1000/200" }

[rollout]
surge = "50%"

[[test]]
input = { prompt = "hi" }
expect = { output = { ok = true } }

[env.staging]
scale.max = 1
scale.min = 0
scale.target = { requests = 3 }

[env.eu]
name = "flüster"
build = { image = "me/w:1" }
"#;

    fn error(text: &str) -> String {
        read(text, None).expect_err("a mistake").to_string()
    }

    #[test]
    fn nothing_is_a_file_too() {
        let wanted = read("", None).expect("an empty file");
        assert_eq!((wanted.name, wanted.source), (None, Source::Folder));
        assert_eq!(wanted.settings, Settings::default());
    }

    #[test]
    fn every_part_is_taken() {
        let wanted = read(WHOLE, None).expect("a file");
        assert_eq!(wanted.name.as_deref(), Some("whisper"));
        assert_eq!(wanted.source, Source::Handler("handler.py".to_owned()));
        let settings = &wanted.settings;
        assert_eq!((settings.workers_min, settings.workers_max), (1, 4));
        assert_eq!(settings.gpus, 2.into());
        assert_eq!((settings.scaler, settings.idle_timeout_s), (Scaler::QueueDelay(2.5), 60));
        assert_eq!((settings.execution_timeout_ms, settings.requeues), (600_000, 2));
        assert_eq!(settings.rollout.surge, Portion::Percent(50));
        assert_eq!(wanted.env["HF_TOKEN"], "{{ RUNPOD_SECRET_HF_TOKEN }}");
        assert_eq!(wanted.tests[0].expected.output, Some(json!({"ok": true})));
    }

    #[test]
    fn what_nobody_obeys_is_not_swallowed() {
        let text = "[budget]\ndaily = 5\nat_cap = \"drain\"\n[limits]\nmax_cost_per_job = 0.5\n";
        let wanted = read(text, None).expect("a file");
        let keys: Vec<&str> = wanted.not_applied.keys().map(String::as_str).collect();
        assert_eq!(keys, ["budget.at_cap", "budget.daily", "limits.max_cost_per_job"]);
        assert_eq!(wanted.settings, Settings::default());
    }

    #[test]
    fn an_environment_lies_over_the_rest() {
        let wanted = read(WHOLE, Some("staging")).expect("an environment");
        assert_eq!(wanted.name.as_deref(), Some("whisper-staging"));
        assert_eq!((wanted.settings.workers_min, wanted.settings.workers_max), (0, 1));
        assert_eq!((wanted.settings.scaler, wanted.settings.idle_timeout_s), (Scaler::RequestCount(3), 60));
        let wanted = read(WHOLE, Some("eu")).expect("an environment");
        assert_eq!(wanted.name.as_deref(), Some("flüster"));
        assert!(matches!(wanted.source, Source::Image { name, .. } if name == "me/w:1"));
        let error = read(WHOLE, Some("prod")).expect_err("none of that name").to_string();
        assert_eq!(error, "runyard.toml has no environment 'prod'; there are eu, staging");
    }

    #[test]
    fn mistakes_say_where() {
        assert!(
            error("name = \"x\"\n[scale]\nmaxx = 3\n")
                .starts_with("runyard.toml: line 3, column 1: unknown field")
        );
        assert!(error("[limits]\nttl = \"1w\"").contains("line 2, column 7: '1w' is no duration"));
        assert!(error("[env.a]\nscale.mxa = 3").contains("line 2"));
        assert!(error("name = \n").contains("line 1"));
        assert_eq!(error("[scale]\nmin = 4"), "runyard.toml: scale.min is 4: it must be at most workers_max");
        assert!(error("build = { handler = \"a\", image = \"b\" }").contains("more than one of"));
        assert!(error("run = { env = { A = \"1\" }, secrets = [\"A\"] }").contains("A is in run.env and"));
        assert!(
            error("[run]\ngpu = \"2xh100,3xl4\"").contains("line 2, column 7: a worker has as many GPUs")
        );
        assert!(
            error("type = \"pod\"").contains("line 1, column 8: type = \"pod\" does not exist yet"),
            "{}",
            error("type = \"pod\"")
        );
        for (text, said) in [
            ("[run]\nmodel = \"hf:a/b\"", "line 2, column 1: run.model does not exist yet"),
            ("[run]\ndisk = \"20GB\"", "run.disk does not exist yet"),
            ("[build]\ngit = \"x\"", "'runyard git connect URL'"),
            ("[build]\npython = 3.1", "invalid type: floating point `3.1`"),
            ("[build]\npython = \"latest\"", "build.python must be a version of Python"),
            ("[build]\nrequirements = \"../x.txt\"", "build.requirements must be a file below the folder"),
            ("[build]\nimage = \"a\"\npython = \"3.12\"", "an image brings its own"),
            (
                "[env]\nMODEL = \"tiny\"",
                "expected an environment, as [env.staging]; variables of workers stand in [run.env]",
            ),
            ("scale = 3", "line 1, column 9: invalid type: integer `3`, expected a table of keys"),
            ("[logs]\nlevel = \"loud\"", "line 2, column 9: unknown variant `loud`"),
            ("[logs]\nretention = \"1m\"", "logs.retention is 60000: it must be 3600000 (an hour)"),
            ("[budget]\ndaily = -1.0", "budget.daily is -1"),
            ("[budget]\nat_cap = \"panic\"", "unknown variant `panic`"),
        ] {
            assert!(error(text).contains(said), "{}", error(text));
        }
    }
}
