//! A project: a folder with its `runyard.toml`, or without one, and what it asks of the server. `plan`, `apply`, `diff`,
//! `validate` and `destroy` begin here, and so does `deploy`.

pub mod apply;
pub mod destroy;
pub mod export;
pub mod many;
pub mod plan;
mod prune;
pub mod validate;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use runyard_project::{FILE, Source, Wanted, place};
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
        let environment = self.wanted.environment.as_deref();
        match Repository::of(&self.folder) {
            Some(repository) => {
                place::of(Some(&repository.url), &repository.prefix, environment, self.has_file)
            }
            None => place::of(None, "", environment, self.has_file),
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

    fn dockerfile(&self) -> Option<String> {
        self.wanted.dockerfile(self.has_dockerfile()).map(str::to_owned)
    }

    fn has_dockerfile(&self) -> bool {
        self.folder.join("Dockerfile").is_file()
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
        let release = self.release(bundle);
        json!({"managedBy": self.place(), "release": release, "notApplied": self.wanted.not_applied})
    }

    /// The release that is asked for, as a deploy takes it.
    pub fn release(&self, bundle: Option<&str>) -> Map<String, Value> {
        self.wanted.release(self.has_dockerfile(), bundle)
    }
}

/// The Git repository that a folder lies in, where that has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its root here.
    pub root: PathBuf,
    /// Where it comes from.
    pub url: String,
    /// The folder below the root.
    pub prefix: String,
}

impl Repository {
    /// Asks Git.
    pub fn of(folder: &Path) -> Option<Self> {
        let git = |args: &[&str]| {
            let output = Command::new("git").arg("-C").arg(folder).args(args).output().ok()?;
            let text = String::from_utf8(output.stdout).ok()?;
            Some(text.trim().to_owned()).filter(|_| output.status.success())
        };
        let url = git(&["config", "--get", "remote.origin.url"]).filter(|url| !url.is_empty())?;
        let root = git(&["rev-parse", "--show-toplevel"]).filter(|root| !root.is_empty())?;
        let prefix = git(&["rev-parse", "--show-prefix"])?;
        Some(Self { root: root.into(), url, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
