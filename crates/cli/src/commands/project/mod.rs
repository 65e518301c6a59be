//! A project: a folder with its `runyard.toml`, or without one, and what it asks of the server. `plan`, `apply`, `diff`,
//! `validate` and `destroy` begin here, and so does `deploy`.

pub mod apply;
pub mod destroy;
pub mod export;
pub mod plan;
pub mod validate;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use runyard_project::{FILE, Source, Test, Wanted};
use serde_json::{Map, Value, json};

use crate::commands::deploy::pack::{self, Packed};
use crate::commands::deploy::plan::{Runs, checked, name_of};
use crate::errors::Failure;

/// Which project.
#[derive(Debug, Clone, Args)]
pub struct ProjectArgs {
    /// The folder, or its runyard.toml
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,
    /// The file's environment: [env.NAME]
    #[arg(short, long, value_name = "NAME")]
    pub environment: Option<String>,
}

/// A folder and what its file asks for.
#[derive(Debug)]
pub struct Project {
    /// The folder.
    pub folder: PathBuf,
    /// Whether there is a file.
    pub has_file: bool,
    /// The endpoint's name.
    pub name: String,
    /// What is asked for.
    pub wanted: Wanted,
}

impl ProjectArgs {
    /// Reads the file, where there is one.
    pub fn load(&self) -> anyhow::Result<Project> {
        Project::load(&self.path, self.environment.as_deref())
    }
}

impl Project {
    /// Reads the file of a folder, or this file.
    pub fn load(path: &Path, environment: Option<&str>) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        let (folder, file) = match path.parent() {
            Some(parent) if path.is_file() => (parent.to_owned(), path.clone()),
            _ => (path.clone(), path.join(FILE)),
        };
        if !folder.is_dir() {
            return Err(Failure::usage(format!("there is no folder at {}", folder.display())).into());
        }
        let text = match std::fs::metadata(&file) {
            Ok(meta) if meta.len() > runyard_project::LARGEST as u64 => {
                return Err(Failure::usage(format!("{} is too large", file.display())).into());
            }
            Ok(_) => Some(std::fs::read_to_string(&file).map_err(|error| {
                Failure::usage(format!("cannot read {}", file.display())).cause(error.to_string())
            })?),
            Err(_) => None,
        };
        let wanted = runyard_project::read(text.as_deref().unwrap_or_default(), environment)
            .map_err(|error| Failure::usage(error.to_string()).hint("docs/runyard-toml.md has every key"))?;
        let name = match (&wanted.name, environment) {
            (Some(name), _) => name.clone(),
            (None, Some(environment)) => format!("{}-{environment}", name_of(&folder)?),
            (None, None) => name_of(&folder)?,
        };
        Ok(Self { folder, has_file: text.is_some(), name: checked(name)?, wanted })
    }

    /// The file's name and place, for the server to remember: the same on every machine that has the repository.
    pub fn place(&self) -> String {
        let git = |args: &[&str]| {
            let output = Command::new("git").arg("-C").arg(&self.folder).args(args).output().ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
        };
        let environment =
            self.wanted.environment.as_ref().map_or(String::new(), |name| format!(" [env.{name}]"));
        match git(&["config", "--get", "remote.origin.url"]) {
            Some(url) => {
                let prefix = git(&["rev-parse", "--show-prefix"]).unwrap_or_default();
                format!("{FILE}@{}/{prefix}{environment}", without_password(&url))
                    .trim_end_matches('/')
                    .to_owned()
            }
            None => format!("{FILE}{environment}"),
        }
    }

    /// What the workers run.
    pub fn runs(&self) -> Runs {
        match (&self.wanted.source, self.dockerfile()) {
            (Source::Image { .. }, _) => Runs::Image,
            (_, Some(file)) => Runs::Dockerfile(file),
            (_, None) => Runs::Handler,
        }
    }

    /// The Dockerfile that is built, where one is.
    fn dockerfile(&self) -> Option<String> {
        match &self.wanted.source {
            Source::Dockerfile { file, .. } => Some(file.clone().unwrap_or_else(|| "Dockerfile".to_owned())),
            Source::Folder if self.folder.join("Dockerfile").is_file() => Some("Dockerfile".to_owned()),
            _ => None,
        }
    }

    /// Packs what is uploaded; a ready image needs nothing. Blocks.
    pub fn pack(&self) -> anyhow::Result<Option<Packed>> {
        match self.runs() {
            Runs::Image => Ok(None),
            Runs::Dockerfile(file) => pack::pack_context(&self.folder, &file).map(Some),
            Runs::Handler => pack::pack_folder(&self.folder).map(Some),
        }
    }

    /// What is asked of the server: the body of a plan.
    pub fn desired(&self, bundle: Option<&str>) -> Value {
        json!({"managedBy": self.place(), "release": self.release(bundle)})
    }

    /// The release that is asked for, as a deploy takes it.
    pub fn release(&self, bundle: Option<&str>) -> Map<String, Value> {
        let wanted = &self.wanted;
        let handler = match &wanted.source {
            Source::Handler(file) => Some(file.trim_start_matches("./").to_owned()),
            _ => None,
        };
        let mut release = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                release.insert(name.to_owned(), value);
            }
        };
        put("bundle", json!(bundle));
        put("handler", json!(handler));
        put("container", self.container());
        put("env", json!(wanted.env));
        put("settings", json!(wanted.settings));
        put("cases", wanted.tests.iter().map(case).collect());
        release
    }

    /// How its image is made, where workers are containers.
    fn container(&self) -> Value {
        let wanted = &self.wanted;
        let mut container = match (&wanted.source, self.dockerfile()) {
            (Source::Image { name, platform }, _) => json!({"image": name, "platform": platform}),
            (Source::Dockerfile { args, target, platform, .. }, Some(file)) => {
                json!({"dockerfile": file, "args": args, "target": target, "platform": platform})
            }
            (_, Some(file)) => json!({"dockerfile": file}),
            (_, None) => return Value::Null,
        };
        container["entrypoint"] = json!(wanted.entrypoint);
        container["command"] = json!(wanted.command);
        if let Value::Object(fields) = &mut container {
            fields.retain(|_, value| !value.is_null());
        }
        container
    }
}

fn case(test: &Test) -> Value {
    let Test { name, input, timeout_ms, expected } = test;
    json!({"name": name, "input": input, "timeoutMs": timeout_ms, "failure": expected.failure, "output": expected.output})
}

/// A repository's address without what opens it.
fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((who, host)) if !who.contains('/') => format!("{scheme}://{host}"),
            _ => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_here() {
        assert_eq!(without_password("https://me:pw@host/x.git"), "https://host/x.git");
        assert_eq!(without_password("https://host/x@y"), "https://host/x@y");
        assert_eq!(without_password("git@host:x.git"), "git@host:x.git");
    }

    #[test]
    fn a_file_asks_for_everything() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "name = \"x\"\n[build]\nimage = \"me/w:1\"\n[scale]\nmax = 2\n[[test]]\ninput = 1\n";
        std::fs::write(folder.path().join(FILE), text).expect("written");
        let project = Project::load(folder.path(), None).expect("a project");
        assert_eq!((project.name.as_str(), project.has_file), ("x", true));
        let desired = project.desired(None);
        assert_eq!(desired["release"]["container"], json!({"image": "me/w:1"}));
        assert_eq!(desired["release"]["settings"]["workers_max"], 2);
        assert_eq!(desired["release"]["cases"][0]["input"], 1);
        assert!(desired["managedBy"].as_str().is_some_and(|place| place.starts_with(FILE)));
    }
}
