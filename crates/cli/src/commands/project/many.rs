//! Several projects at once: the folders that are named, or every one below them that has a `runyard.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use runyard_project::FILE;

use crate::commands::project::Project;
use crate::errors::Failure;
use crate::output::text;

/// How far below a folder files are looked for.
const DEEPEST: usize = 12;

/// The most projects that are worked on at once.
const MOST: usize = 500;

/// Folders in which nobody keeps projects of their own.
const SKIPPED: [&str; 5] = ["node_modules", "target", "venv", "site-packages", "__pycache__"];

/// Which projects.
#[derive(Debug, Clone, Args)]
pub struct ProjectsArgs {
    /// Folders, or their runyard.toml
    #[arg(value_name = "PATH", default_value = ".")]
    pub paths: Vec<PathBuf>,
    /// The file's environment: [env.NAME]
    #[arg(short, long, value_name = "NAME")]
    pub environment: Option<String>,
    /// Every folder at or below PATH that has a runyard.toml
    #[arg(short, long)]
    pub recursive: bool,
}

impl ProjectsArgs {
    /// Reads every file. No two of them may name one endpoint.
    pub fn load(&self) -> anyhow::Result<Vec<Project>> {
        let mut folders = Vec::new();
        for path in &self.paths {
            if self.recursive {
                let found = files_below(path)?;
                folders.extend(found.into_iter().filter(|file| !folders.contains(file)).collect::<Vec<_>>());
            } else {
                folders.push(path.clone());
            }
        }
        let several = folders.len() > 1;
        let mut projects = Vec::new();
        for folder in &folders {
            let project = Project::load(folder, self.environment.as_deref());
            projects.push(project.map_err(|error| if several { at(folder, &error) } else { error })?);
        }
        let mut names: BTreeMap<&str, &Path> = BTreeMap::new();
        for Project { name, folder, .. } in &projects {
            if let Some(other) = names.insert(name, folder) {
                let name = text::line(name, 80);
                let both = format!("{} and {}", other.display(), folder.display());
                return Err(Failure::usage(format!("two folders name the endpoint '{name}': {both}")).into());
            }
        }
        Ok(projects)
    }
}

/// The same failure, with the file that it is about.
fn at(folder: &Path, error: &anyhow::Error) -> anyhow::Error {
    Failure::usage(format!("{}: {error}", folder.display())).hint("docs/runyard-toml.md has every key").into()
}

/// The files at and below a folder, by their paths. Folders whose names begin with a dot and links are left out.
fn files_below(top: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !top.is_dir() {
        return Err(Failure::usage(format!("there is no folder at {}", top.display())).into());
    }
    let mut found = Vec::new();
    let mut folders = vec![(top.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        if folder.join(FILE).is_file() {
            found.push(folder.join(FILE));
        }
        let entries = std::fs::read_dir(&folder).map_err(|error| {
            Failure::usage(format!("cannot read {}", folder.display())).cause(error.to_string())
        })?;
        for entry in entries.flatten().filter(|_| depth < DEEPEST) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    found.sort();
    match found.len() {
        0 => Err(Failure::usage(format!("no folder at or below {} has a {FILE}", top.display())).into()),
        more if more > MOST => Err(Failure::usage(format!(
            "{more} folders at or below {} have a {FILE}; {MOST} are worked on at once",
            top.display()
        ))
        .into()),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(paths: &[&Path], recursive: bool) -> ProjectsArgs {
        ProjectsArgs {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            environment: None,
            recursive,
        }
    }

    #[test]
    fn every_file_below_is_found() {
        let dir = tempfile::tempdir().expect("a folder");
        let put = |folder: &str, text: &str| {
            std::fs::create_dir_all(dir.path().join(folder)).expect("made");
            std::fs::write(dir.path().join(folder).join(FILE), text).expect("written");
        };
        put("b", "name = \"second\"");
        put("a/deep", "");
        put(".hidden/x", "broken");
        put("node_modules/x", "broken");
        let names = |args: &ProjectsArgs| {
            args.load().map(|all| all.into_iter().map(|project| project.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&args(&[dir.path()], true)).expect("two"), ["deep", "second"]);
        let (a, b) = (dir.path().join("a/deep"), dir.path().join("b"));
        assert_eq!(names(&args(&[&b, &a], false)).expect("two"), ["second", "deep"]);
        put("c", "name = \"deep\"");
        let error = names(&args(&[dir.path()], true)).expect_err("one name twice").to_string();
        assert!(error.contains("two folders name the endpoint 'deep'"), "{error}");
        put("c", "[scale]\nmaxx = 1");
        let error = names(&args(&[dir.path()], true)).expect_err("a mistake").to_string();
        assert!(error.contains("c/runyard.toml: runyard.toml: line 2"), "{error}");
        assert!(args(&[&dir.path().join("node_modules/x/none")], true).load().is_err());
    }
}
