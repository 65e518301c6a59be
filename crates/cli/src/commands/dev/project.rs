//! The folder that `dev` runs: where its handler is, its test request, the variables it gets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::errors::{Code, Failure};

/// A folder with a handler.
pub struct Project {
    /// The folder, absolute.
    pub folder: PathBuf,
    /// The handler's file, relative to it.
    pub handler: PathBuf,
    /// Variables of the worker.
    pub env: BTreeMap<String, String>,
    /// Those of them that are secret.
    pub secret_env: BTreeMap<String, String>,
}

impl Project {
    /// Finds the handler by reading sources, never by importing them.
    pub fn find(given: &Path, env: &[String], secret_env: BTreeMap<String, String>) -> anyhow::Result<Self> {
        let path = given.canonicalize().map_err(|error| {
            Failure::new(Code::NotFound, format!("cannot open {}: {error}", given.display()))
        })?;
        let found = runyard_build::find_handler(&path);
        let (folder, handler) = if path.is_dir() {
            let handler = found.map_err(|error| Failure::usage(error.to_string()))?.file;
            (path, handler)
        } else {
            let folder = path.parent().context("a file has a folder")?.to_owned();
            let name = path.file_name().context("a file has a name")?;
            (folder, PathBuf::from(name))
        };
        Ok(Self { folder, handler, env: variables(env)?, secret_env })
    }

    /// The input of the first test request, as JSON text.
    pub fn test_input(&self) -> anyhow::Result<Option<String>> {
        let cases =
            runyard_build::tests_of(&self.folder).map_err(|error| Failure::usage(error.to_string()))?;
        Ok(cases.into_iter().next().map(|case| case.input))
    }
}

fn variables(given: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => match std::env::var(text) {
            Ok(value) => Ok((text.clone(), value)),
            Err(_) => Err(Failure::usage(format!("--env {text}: the variable is not set here")).into()),
        },
    };
    given.iter().map(pair).collect()
}

/// `--once` has nothing to send.
pub fn no_test_input(project: &Project) -> Failure {
    Failure::usage(format!("there is no test_input.json in {}", project.folder.display()))
        .hint("write one, as {\"input\": {\"prompt\": \"Hey there!\"}}")
}
