//! The flags that are about containers: the image of a deploy, and what each container gets.

use std::collections::BTreeMap;

use clap::Args;
use runyard_domain::image::Volume;
use serde_json::{Map, Value, json};

use crate::errors::Failure;

/// What each container gets.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Containers")]
pub struct ContainerArgs {
    /// Processors of each container: 2, 0.5; 0 means all
    #[arg(long, value_name = "N", value_parser = millis)]
    cpus: Option<u32>,
    /// Memory of each container: 16g, 512m; 0 means all. One that uses more is ended
    #[arg(long, value_name = "SIZE", value_parser = mib)]
    memory: Option<u32>,
    /// Processes and threads of each container
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    /// Shared memory of each container (/dev/shm): 2g
    #[arg(long, value_name = "SIZE", value_parser = mib)]
    shm: Option<u32>,
    /// A volume that outlives containers, at /runpod-volume or where it says: models, data:/data, hub:/hub:ro
    #[arg(long, value_name = "NAME[:PATH[:ro]]")]
    volume: Vec<Volume>,
    /// The registry login that the image is pulled with, where there are several for its registry; '' for none
    #[arg(long, value_name = "NAME")]
    registry: Option<String>,
}

impl ContainerArgs {
    /// What was given, as the API takes it.
    pub fn given(&self) -> Option<Value> {
        let fields = [
            ("cpu_millis", self.cpus.map(Value::from)),
            ("memory_mib", self.memory.map(Value::from)),
            ("pids", self.pids.map(Value::from)),
            ("shm_mib", self.shm.map(Value::from)),
            ("volumes", (!self.volume.is_empty()).then(|| json!(self.volume))),
            ("registry", self.registry.clone().map(Value::from)),
        ];
        let given: Map<String, Value> =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (!given.is_empty()).then_some(Value::Object(given))
    }
}

/// The image of a deploy.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Image")]
pub struct ImageArgs {
    /// Run a ready image: ghcr.io/me/worker:v1. Its digest is fixed with the release
    #[arg(long, value_name = "REF", conflicts_with_all = ["handler", "dockerfile", "build_arg", "target", "platform"])]
    pub image: Option<String>,
    /// Build this Dockerfile, below the folder [default: Dockerfile, where there is one]
    #[arg(long, value_name = "FILE", conflicts_with = "handler")]
    pub dockerfile: Option<String>,
    /// A value for an ARG of the Dockerfile; K alone takes the value from here
    #[arg(long, value_name = "K=V", conflicts_with = "handler")]
    pub build_arg: Vec<String>,
    /// The stage of the Dockerfile to build
    #[arg(long, value_name = "STAGE", conflicts_with = "handler")]
    target: Option<String>,
    /// Build for this platform; the server runs its own only
    #[arg(long, value_name = "OS/ARCH", conflicts_with = "handler")]
    platform: Option<String>,
    /// A secret of the build, sent to the server and kept nowhere; needs Docker's buildx there
    #[arg(long, value_name = "id=ID,src=FILE|env=VAR", conflicts_with_all = ["handler", "image"])]
    secret: Vec<String>,
    /// Run this instead of the image's command: 'python -u handler.py'
    #[arg(long, value_name = "COMMAND", conflicts_with = "handler", value_parser = words)]
    command: Option<Words>,
    /// Run this instead of the image's entrypoint
    #[arg(long, value_name = "COMMAND", conflicts_with = "handler", value_parser = words)]
    entrypoint: Option<Words>,
}

/// A command, word by word.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Words(Vec<String>);

impl ImageArgs {
    /// Whether nothing was said of an image.
    pub fn is_empty(&self) -> bool {
        let words = [&self.image, &self.dockerfile, &self.target, &self.platform];
        words.iter().all(|word| word.is_none())
            && self.build_arg.is_empty()
            && self.command.is_none()
            && self.entrypoint.is_none()
    }

    /// Whether the build gets secrets.
    pub fn has_secrets(&self) -> bool {
        !self.secret.is_empty()
    }

    /// The request's part about the image; `args` are the build's variables.
    pub fn request(&self, args: &BTreeMap<String, String>) -> Result<Value, Failure> {
        let secrets: BTreeMap<String, String> =
            self.secret.iter().map(|text| secret(text)).collect::<Result<_, Failure>>()?;
        let fields = [
            ("image", self.image.clone().map(Value::from)),
            ("dockerfile", self.dockerfile.clone().map(Value::from)),
            ("args", (!args.is_empty()).then(|| json!(args))),
            ("target", self.target.clone().map(Value::from)),
            ("platform", self.platform.clone().map(Value::from)),
            ("secrets", (!secrets.is_empty()).then(|| json!(secrets))),
            ("command", self.command.as_ref().map(|words| json!(words.0))),
            ("entrypoint", self.entrypoint.as_ref().map(|words| json!(words.0))),
        ];
        let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Ok(Value::Object(given.collect()))
    }
}

/// `id=token,src=token.txt`, `id=token,env=TOKEN` or `id=TOKEN`, which means the variable: its id and its value.
fn secret(text: &str) -> Result<(String, String), Failure> {
    let part = |name: &str| {
        text.split(',')
            .find_map(|part| part.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
    };
    let id = part("id").ok_or_else(|| {
        Failure::usage(format!("--secret {text} has no id")).hint("--secret id=ID,src=FILE")
    })?;
    let value = if let Some(file) = part("src").or_else(|| part("source")) {
        std::fs::read_to_string(file).map_err(|error| {
            Failure::usage(format!("--secret {id}: cannot read {file}")).cause(error.to_string())
        })?
    } else {
        let name = part("env").unwrap_or(id);
        std::env::var(name).map_err(|_| Failure::usage(format!("--secret {id}: {name} is not set here")))?
    };
    Ok((id.to_owned(), value))
}

/// `2`, `0.5`, in thousandths.
fn millis(text: &str) -> Result<u32, String> {
    match text.parse::<f64>() {
        Ok(count) if (0.0..=4096.0).contains(&count) => Ok((count * 1000.0).round() as u32),
        _ => Err("it is a number of processors, as 2 or 0.5".to_owned()),
    }
}

/// `512m`, `16g`, `16GiB`, in MiB; a plain number is in MiB.
fn mib(text: &str) -> Result<u32, String> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "m" | "mb" | "mib" => 1.0,
        "g" | "gb" | "gib" => 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0,
        _ => return Err("it is a size, as 512m or 16g".to_owned()),
    };
    match digits.parse::<f64>() {
        Ok(count) if (0.0..=1e9).contains(&(count * unit)) => Ok((count * unit).round() as u32),
        _ => Err("it is a size, as 512m or 16g".to_owned()),
    }
}

/// Words as a shell would see them: blanks divide, quotes hold together.
fn words(text: &str) -> Result<Words, String> {
    let (mut all, mut word, mut open) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match (open, c) {
            (Some(quote), c) if c == quote => open = None,
            (None, '\'' | '"') => {
                open = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => all.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if open.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    all.extend(word);
    if all.is_empty() { Err("it is empty".to_owned()) } else { Ok(Words(all)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_shares_are_read() {
        assert_eq!(
            (mib("16g"), mib("512M"), mib("100"), mib("1.5GiB")),
            (Ok(16384), Ok(512), Ok(100), Ok(1536))
        );
        assert!(mib("x").is_err() && mib("5k").is_err() && mib("-1g").is_err());
        assert_eq!((millis("0.5"), millis("2")), (Ok(500), Ok(2000)));
        assert!(millis("-1").is_err());
    }

    #[test]
    fn secrets_are_read_where_they_are() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "s3").expect("written");
        let read =
            |text: &str| secret(text).map(|(id, value)| format!("{id}={value}")).map_err(|e| e.to_string());
        assert_eq!(read(&format!("id=t,src={}", file.path().display())).as_deref(), Ok("t=s3"));
        assert!(read("src=x").is_err_and(|e| e.contains("no id")));
        assert!(read("id=RUNYARD_SURELY_NOT_SET").is_err_and(|e| e.contains("not set")));
        assert!(read("id=t,src=/nowhere").is_err_and(|e| e.contains("/nowhere")));
    }

    #[test]
    fn commands_are_words() {
        let read = |text: &str| words(text).map(|words| words.0.join("|"));
        assert_eq!(read("python -u 'my handler.py'").as_deref(), Ok("python|-u|my handler.py"));
        assert_eq!(read("sh -c \"echo 'x'\"").as_deref(), Ok("sh|-c|echo 'x'"));
        assert!(read("'x").is_err() && read("  ").is_err());
    }

    #[test]
    fn only_what_was_given_is_sent() {
        assert_eq!(ContainerArgs::default().given(), None);
        let args = ContainerArgs { memory: Some(512), ..ContainerArgs::default() };
        assert_eq!(args.given(), Some(json!({"memory_mib": 512})));
    }
}
