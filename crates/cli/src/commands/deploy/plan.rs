//! What a deploy is about, worked out before anything is sent: the folder, the endpoint's name, the handler, the
//! variables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::commands::deploy::Deploy;
use crate::commands::project::Project;
use crate::errors::Failure;
use crate::output::json;

/// A sample input longer than this makes a command that nobody reads.
const SAMPLE_MAX: usize = 300;

/// What the workers run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// A handler, as processes.
    Handler,
    /// What this Dockerfile makes of the folder.
    Dockerfile(String),
    /// A ready image.
    Image,
}

/// What a deploy is about.
#[derive(Debug)]
pub struct Plan {
    /// What is packed: a folder, or one handler with what belongs to it.
    pub source: PathBuf,
    /// The folder, or the one that the handler is in.
    folder: PathBuf,
    pub name: String,
    pub handler: Option<String>,
    pub env: BTreeMap<String, String>,
    pub runs: Runs,
    /// Values for the Dockerfile's `ARG`s.
    pub build_args: BTreeMap<String, String>,
}

impl Plan {
    /// Works it out from the flags.
    pub fn make(args: &Deploy, project: Option<&Project>) -> anyhow::Result<Self> {
        let path = std::path::absolute(&args.path)?;
        let is_file = path.is_file();
        if !is_file && !path.is_dir() {
            return Err(Failure::usage(format!("there is no folder or file at {}", path.display())).into());
        }
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let folder = match path.parent() {
            Some(parent) if is_file => parent.to_owned(),
            _ => path.clone(),
        };
        let handler = args.handler.clone().or(file_name.filter(|_| is_file));
        let of_project = project.filter(|_| handler.is_none() && args.image.is_empty()).map(Project::runs);
        let runs = match of_project {
            Some(runs) => runs,
            None => runs(args, &path, handler.is_some())?,
        };
        let name = match (&args.name, project, &args.image.image) {
            (Some(name), ..) => name.clone(),
            (None, Some(project), _) => project.name.clone(),
            (None, None, Some(image)) => name_of(Path::new(&image_name(image)))?,
            (None, None, None) => name_of(&folder)?,
        };
        let mut env = project.map(|project| project.wanted.env.clone()).unwrap_or_default();
        env.extend(variables(&args.env)?);
        let build_args = variables(&args.image.build_arg)?;
        Ok(Self { source: path, folder, name: checked(name)?, handler, env, runs, build_args })
    }

    /// The input of the folder's first test request, or an empty one.
    pub fn sample_input(&self) -> String {
        #[derive(Deserialize)]
        struct Test {
            input: Box<RawValue>,
        }
        let text = std::fs::read_to_string(self.folder.join("test_input.json")).unwrap_or_default();
        let input = serde_json::from_str::<Test>(&text).map(|test| json::compact(test.input.get()));
        input.ok().filter(|input| input.len() <= SAMPLE_MAX).unwrap_or_else(|| "{}".to_owned())
    }
}

/// What is run of this path: its Dockerfile, where it has one and no handler was named.
fn runs(args: &Deploy, path: &Path, has_handler: bool) -> Result<Runs, Failure> {
    if args.image.image.is_some() {
        return Ok(Runs::Image);
    }
    let named = args.image.dockerfile.as_deref();
    let file = named.unwrap_or("Dockerfile").trim_start_matches("./").to_owned();
    match (named, !has_handler && path.join(&file).is_file()) {
        (_, true) => Ok(Runs::Dockerfile(file)),
        (None, false) => Ok(Runs::Handler),
        (Some(_), false) => Err(Failure::usage(format!("there is no file {file} in {}", path.display()))),
    }
}

/// The last part of an image's name, without tag and digest.
fn image_name(image: &str) -> String {
    let bare = image.split('@').next().unwrap_or(image);
    let last = bare.rsplit('/').next().unwrap_or(bare);
    last.split(':').next().unwrap_or(last).to_owned()
}

/// A folder's name as an endpoint's: lowercase, and `-` for what a name cannot have.
pub fn name_of(folder: &Path) -> Result<String, Failure> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    name_from(&folder.file_name().unwrap_or_default().to_string_lossy()).ok_or_else(|| {
        Failure::usage(format!("{} has no name for an endpoint", folder.display())).hint("--name NAME")
    })
}

/// A text as an endpoint's name, where anything of it is left.
pub fn name_from(text: &str) -> Option<String> {
    let name = text.to_lowercase();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let name: String = name.trim_matches(['-', '_', '.']).chars().take(64).collect();
    (!name.is_empty()).then_some(name)
}

/// A name that can be an endpoint's.
pub fn checked(name: String) -> Result<String, Failure> {
    if runyard_domain::endpoint::is_valid_name(&name) {
        return Ok(name);
    }
    Err(Failure::usage(format!("'{name}' cannot name an endpoint"))
        .cause("a name has 1 to 64 of a-z, 0-9, '-', '_' and '.', starts with a letter or digit, and is no word of the API")
        .hint("--name NAME"))
}

/// The variables that `--env` names.
pub fn variables(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    given.iter().map(|pair| variable(pair)).collect()
}

fn variable(pair: &str) -> Result<(String, String), Failure> {
    let (name, value) = match pair.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => match std::env::var(pair) {
            Ok(value) => (pair, value),
            Err(_) => {
                return Err(Failure::usage(format!("--env {pair} has no value, and {pair} is not set here")));
            }
        },
    };
    check_variable(name)?;
    Ok((name.to_owned(), value))
}

/// Whether this can name a variable.
pub fn check_variable(name: &str) -> Result<(), Failure> {
    let good = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if good { Ok(()) } else { Err(Failure::usage(format!("'{name}' cannot name a variable"))) }
}

/// `text` as one word of a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_name_endpoints() {
        assert_eq!(name_of(Path::new("/x/My Folder_2")), Ok("my-folder_2".to_owned()));
        assert_eq!(name_of(Path::new("/x/.hidden")), Ok("hidden".to_owned()));
        assert!(name_of(Path::new("/")).is_err());
        assert!(checked("flash".to_owned()).is_err());
    }

    #[test]
    fn variables_are_pairs() {
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(variable("A="), Ok(("A".to_owned(), String::new())));
        for bad in ["=x", "1A=x", "A-B=x", "RUNYARD_SURELY_NOT_SET"] {
            assert!(variable(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn images_name_endpoints() {
        assert_eq!(image_name("ghcr.io:443/me/worker-x:v1@sha256:00"), "worker-x");
        assert_eq!(image_name("python"), "python");
    }

    #[test]
    fn shells_see_one_word() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
