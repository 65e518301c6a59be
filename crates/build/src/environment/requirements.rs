//! What a folder's requirements name, and all content that decides what they install: included files,
//! constraints, wheels and source folders that lie beside them.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{PlanError, Requirements};
use crate::read;
use crate::walk::walker;

/// What requirements say.
#[derive(Debug, Default)]
pub struct Listed {
    /// Names of packages, normalised.
    pub names: BTreeSet<String>,
    /// The requirements as written, for a `pyproject.toml`.
    pub lines: Vec<String>,
    /// Everything the outcome depends on: name → content (of what is installed from, its digest), in the order of
    /// reading.
    pub contents: Vec<(String, Vec<u8>)>,
    /// Whether something is built from a folder.
    pub folders: bool,
    /// Whether what is installed points back to its folder.
    pub editable: bool,
}

/// The requirements of a folder.
pub fn find(code_dir: &Path, handler: &Path) -> Result<(Requirements, Listed), PlanError> {
    let beside = handler.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut folders = vec![PathBuf::new(), beside, PathBuf::from("builder")];
    folders.dedup();
    let first = |name: &str| {
        folders.iter().map(|folder| folder.join(name)).find(|file| code_dir.join(file).is_file())
    };

    let mut reader = Reader { code_dir, listed: Listed::default(), seen: BTreeSet::new() };
    if let Some(file) = first("requirements.txt") {
        reader.file(&file, true)?;
        return Ok((Requirements::Txt(file), reader.listed));
    }
    let Some(pyproject) = first("pyproject.toml") else { return Ok((Requirements::None, reader.listed)) };
    let lock = pyproject.with_file_name("uv.lock");
    if code_dir.join(&lock).is_file() {
        reader.lock(&lock)?;
        reader.keep(&pyproject)?;
        return Ok((Requirements::Lock(lock), reader.listed));
    }
    if reader.pyproject(&pyproject)? {
        return Ok((Requirements::Pyproject(pyproject), reader.listed));
    }
    Ok((Requirements::None, Listed::default()))
}

/// The requirements in this file of a folder.
pub fn named(code_dir: &Path, file: &Path) -> Result<(Requirements, Listed), PlanError> {
    let missing = || PlanError::NoRequirements { file: file.to_path_buf() };
    let real = code_dir.join(file).canonicalize().map_err(|_| missing())?;
    if !real.is_file() || !real.starts_with(code_dir) {
        return Err(missing());
    }
    let mut reader = Reader { code_dir, listed: Listed::default(), seen: BTreeSet::new() };
    let file = file.to_path_buf();
    match file.file_name().and_then(|name| name.to_str()) {
        Some("pyproject.toml") => {
            reader.pyproject(&file)?;
            Ok((Requirements::Pyproject(file), reader.listed))
        }
        Some("uv.lock") => {
            reader.lock(&file)?;
            reader.keep(&file.with_file_name("pyproject.toml"))?;
            Ok((Requirements::Lock(file), reader.listed))
        }
        _ => {
            reader.file(&file, true)?;
            Ok((Requirements::Txt(file), reader.listed))
        }
    }
}

/// The `requires-python` of the folder's `pyproject.toml`.
pub fn requires_python(code_dir: &Path) -> Result<Option<String>, PlanError> {
    let file = Path::new("pyproject.toml");
    if !code_dir.join(file).is_file() {
        return Ok(None);
    }
    let table = toml(file, &file_of(code_dir, file)?)?;
    let wanted = table.get("project").and_then(|project| project.get("requires-python"));
    Ok(wanted.and_then(toml::Value::as_str).map(str::to_owned))
}

struct Reader<'a> {
    code_dir: &'a Path,
    listed: Listed,
    seen: BTreeSet<PathBuf>,
}

impl Reader<'_> {
    fn keep(&mut self, file: &Path) -> Result<Vec<u8>, PlanError> {
        let content = file_of(self.code_dir, file)?;
        self.listed.contents.push((file.display().to_string(), content.clone()));
        Ok(content)
    }

    /// A file in pip's format; a constraints file (`!requires`) names nothing that is installed by itself.
    fn file(&mut self, file: &Path, requires: bool) -> Result<(), PlanError> {
        if !self.seen.insert(file.to_path_buf()) {
            return Ok(());
        }
        let content = String::from_utf8_lossy(&self.keep(file)?).into_owned();
        for line in lines(&content) {
            if let Some(include) = option(&line, "-r", "--requirement") {
                self.include(file, include, requires)?;
            } else if let Some(include) = option(&line, "-c", "--constraint") {
                self.include(file, include, false)?;
            } else if let Some(target) = option(&line, "-e", "--editable") {
                self.listed.editable |= !target.contains("://");
                self.requirement(target, requires);
            } else if !line.starts_with('-') {
                self.requirement(&line, requires);
            }
        }
        Ok(())
    }

    fn include(&mut self, file: &Path, include: &str, requires: bool) -> Result<(), PlanError> {
        if include.contains("://") {
            return Ok(());
        }
        let wrong =
            |problem| PlanError::Include { file: file.to_path_buf(), include: include.to_owned(), problem };
        let relative = file.parent().unwrap_or(Path::new("")).join(include);
        let relative = inside(&relative).ok_or_else(|| wrong("outside of it"))?;
        let real = self.code_dir.join(&relative).canonicalize().map_err(|_| wrong("not there"))?;
        if !real.starts_with(self.code_dir) {
            return Err(wrong("outside of it"));
        }
        self.file(&relative, requires)
    }

    fn requirement(&mut self, requirement: &str, requires: bool) {
        if requires {
            self.listed.names.extend(name_of(requirement));
        }
        let target = requirement.split_once(" @ ").map_or(requirement, |(_, target)| target).trim();
        let target = target.split([';', ' ', '[', '#']).next().unwrap_or(target);
        let target = target.strip_prefix("file://").unwrap_or(target);
        if (target.contains('/') || is_archive(target) || target == ".") && !target.contains("://") {
            self.local(target);
        }
    }

    /// A wheel or a source folder counts with its content. What is installed from a folder may also point back
    /// to it, so the environment is for this very folder. What lies outside of the code is not looked at:
    /// requirements are anybody's, and `/` is a folder, too.
    fn local(&mut self, target: &str) {
        let Ok(path) = self.code_dir.join(target).canonicalize() else { return };
        if !path.starts_with(self.code_dir) {
            return;
        }
        if path.is_file() {
            if let Ok(digest) = read::digest(&path) {
                self.listed.contents.push((target.to_owned(), digest));
            }
        } else if path.is_dir() {
            self.listed.folders = true;
            self.listed.contents.push(("folder".to_owned(), path.display().to_string().into_bytes()));
            for entry in walker(&path).build().flatten() {
                if entry.file_type().is_some_and(|kind| kind.is_file())
                    && let Ok(digest) = read::digest(entry.path())
                {
                    self.listed.contents.push((entry.path().display().to_string(), digest));
                }
            }
        }
    }

    /// Whether the file lists dependencies, be it none.
    fn pyproject(&mut self, file: &Path) -> Result<bool, PlanError> {
        let content = self.keep(file)?;
        let table = toml(file, &content)?;
        let project = table.get("project");
        let dependencies =
            project.and_then(|project| project.get("dependencies")).and_then(toml::Value::as_array);
        if let Some(dependencies) = dependencies {
            for dependency in dependencies.iter().filter_map(toml::Value::as_str) {
                self.listed.lines.push(dependency.to_owned());
                self.requirement(dependency, true);
            }
            return Ok(true);
        }
        let poetry =
            table.get("tool").and_then(|tool| tool.get("poetry")).and_then(|p| p.get("dependencies"));
        if poetry
            .and_then(toml::Value::as_table)
            .is_some_and(|wanted| wanted.keys().any(|key| key != "python"))
        {
            return Err(PlanError::Poetry { file: file.to_path_buf() });
        }
        // Dependencies that the build backend finds are in files that it alone knows; uv asks it.
        let dynamic = project.and_then(|project| project.get("dynamic")).and_then(toml::Value::as_array);
        let dynamic =
            dynamic.is_some_and(|names| names.iter().any(|name| name.as_str() == Some("dependencies")));
        if dynamic {
            self.local("./");
        }
        Ok(dynamic)
    }

    fn lock(&mut self, file: &Path) -> Result<(), PlanError> {
        let content = self.keep(file)?;
        let table = toml(file, &content)?;
        let packages = table.get("package").and_then(toml::Value::as_array);
        for package in packages.into_iter().flatten() {
            if let Some(name) = package.get("name").and_then(toml::Value::as_str) {
                self.listed.names.insert(normalised(name));
            }
            // Folders that are installed; the project itself, `.`, is not.
            let source = |kind| package.get("source")?.get(kind)?.as_str().filter(|target| *target != ".");
            for kind in ["directory", "editable"] {
                if let Some(target) = source(kind) {
                    self.listed.editable |= kind == "editable";
                    self.local(&file.with_file_name(target).display().to_string());
                }
            }
        }
        Ok(())
    }
}

fn file_of(code_dir: &Path, file: &Path) -> Result<Vec<u8>, PlanError> {
    read::whole(&code_dir.join(file)).map_err(|source| PlanError::Read { path: file.to_path_buf(), source })
}

fn toml(file: &Path, content: &[u8]) -> Result<toml::Table, PlanError> {
    let text = String::from_utf8_lossy(content);
    text.parse::<toml::Table>().map_err(|error| {
        let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
        PlanError::Toml {
            file: file.to_path_buf(),
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
            problem: error.message().trim_end_matches('.').replace('\n', ", "),
        }
    })
}

/// A relative path without `.` and `..`; `None` if it leads out.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir if clean.pop() => {}
            _ => return None,
        }
    }
    Some(clean)
}

/// The lines of a requirements file: continued ones joined, comments and empty ones left out.
fn lines(content: &str) -> Vec<String> {
    let joined = content.trim_start_matches('\u{feff}').replace("\\\r\n", " ").replace("\\\n", " ");
    let without_comment = |line: &str| {
        let end = line
            .char_indices()
            .find(|(at, next)| *next == '#' && (*at == 0 || line[..*at].ends_with(char::is_whitespace)))
            .map_or(line.len(), |(at, _)| at);
        line[..end].trim().to_owned()
    };
    joined.lines().map(without_comment).filter(|line| !line.is_empty()).collect()
}

/// The value of an option: `-r x`, `-rx`, `--requirement x`, `--requirement=x`.
fn option<'a>(line: &'a str, short: &str, long: &str) -> Option<&'a str> {
    let value = match line.strip_prefix(long) {
        Some(rest) if rest.starts_with(['=', ' ', '\t']) => rest.trim_start_matches('='),
        Some(_) => return None,
        None => line.strip_prefix(short)?,
    };
    Some(value.trim())
}

fn is_archive(target: &str) -> bool {
    [".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz"].iter().any(|end| target.ends_with(end))
}

/// The package that a requirement names: by PEP 508, by `#egg=`, or by the file at the end of a URL or path.
fn name_of(requirement: &str) -> Option<String> {
    let end = requirement
        .find(|next: char| !(next.is_ascii_alphanumeric() || matches!(next, '.' | '_' | '-')))
        .unwrap_or(requirement.len());
    let (name, rest) = requirement.split_at(end);
    let rest = rest.trim_start();
    let plain = rest.is_empty() || rest.starts_with(['[', '<', '>', '=', '!', '~', ';', '@', '(', '-']);
    if plain && name.starts_with(|first: char| first.is_ascii_alphanumeric()) && !is_archive(name) {
        return Some(normalised(name));
    }
    if let Some((_, egg)) = requirement.split_once("#egg=") {
        return Some(normalised(egg.split(['&', '[', ' ', ';']).next().unwrap_or(egg)));
    }
    let target = requirement.split([' ', ';', '#', '?']).next()?.trim_end_matches('/');
    let last = target.rsplit('/').next()?;
    let last = last.split('@').next()?.trim_end_matches(".git");
    let name = if is_archive(last) { last.split('-').next()? } else { last };
    // The repository of the SDK is named unlike its package.
    let name = if name == "runpod-python" { "runpod" } else { name };
    (!name.is_empty() && name != "." && name != "..").then(|| normalised(name))
}

/// As PEP 503 compares names.
fn normalised(name: &str) -> String {
    let lower = name.trim().to_ascii_lowercase();
    lower.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_of_requirements() {
        for (requirement, name) in [
            ("RunPod", "runpod"),
            ("runpod[all]>=1.7,<2 ; python_version > '3.8'", "runpod"),
            ("runpod ~= 1.7.0", "runpod"),
            ("Foo.Bar__baz==1", "foo-bar-baz"),
            ("runpod@https://x/y.whl", "runpod"),
            ("pkg (>=1)", "pkg"),
            ("pkg==1 --hash=sha256:00", "pkg"),
            ("pkg --hash=sha256:00", "pkg"),
            ("https://x.org/a/runpod-1.7.0-py3-none-any.whl#sha256=0", "runpod"),
            ("git+https://github.com/runpod/runpod-python.git@main", "runpod"),
            ("git+https://x.org/repo#egg=My_Pkg&subdirectory=x", "my-pkg"),
            ("./wheels/tiny_pkg-1.0-py3-none-any.whl", "tiny-pkg"),
            ("tiny-1.0.tar.gz", "tiny"),
            ("./local/thing/", "thing"),
        ] {
            assert_eq!(name_of(requirement).as_deref(), Some(name), "{requirement}");
        }
        assert_eq!(name_of("."), None);
    }

    #[test]
    fn lines_without_comments() {
        assert_eq!(
            lines("a # x\n#b\n\n  c \\\n  --hash=1\nd#e\r\n"),
            ["a", "c    --hash=1", "d#e"].map(str::to_owned)
        );
    }

    fn listed(files: &[(&str, &str)]) -> Result<Listed, String> {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        find(&root, Path::new("handler.py")).map(|(_, listed)| listed).map_err(|error| error.to_string())
    }

    #[test]
    fn includes_are_followed_and_stay_inside() {
        let found = listed(&[
            (
                "requirements.txt",
                "-r sub/more.txt\n--constraint=c.txt\n--index-url https://x\n./w/z-1-py3-none-any.whl",
            ),
            ("sub/more.txt", "one\n-r ../requirements.txt\n-rlast.txt"),
            ("sub/last.txt", "two"),
            ("c.txt", "runpod==1.7"),
            ("w/z-1-py3-none-any.whl", "wheel"),
        ])
        .unwrap();
        assert_eq!(found.names.iter().map(String::as_str).collect::<Vec<_>>(), ["one", "two", "z"]);
        assert_eq!(found.contents.len(), 5);
        assert!(listed(&[("requirements.txt", "-r ../x.txt")]).unwrap_err().contains("outside"));
        assert!(listed(&[("requirements.txt", "-r /etc/passwd")]).unwrap_err().contains("outside"));
        assert!(listed(&[("requirements.txt", "-r gone.txt")]).unwrap_err().contains("not there"));
    }

    #[test]
    fn what_lies_outside_of_the_folder_is_not_read() {
        let found =
            listed(&[("requirements.txt", "/\n-e /etc\n../..\n/etc/hostname\n./own"), ("own/x.py", "1")]);
        let contents = found.unwrap().contents;
        let names: Vec<&str> = contents.iter().map(|(name, _)| name.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["requirements.txt", "folder", "x.py"]);
    }

    #[test]
    fn projects_and_locks_name_packages() {
        let project = "[project]\nname = 'x'\ndependencies = ['numpy>=1', 'runpod']\n";
        assert!(listed(&[("pyproject.toml", project)]).unwrap().names.contains("runpod"));
        let lock = "version = 1\n[[package]]\nname = \"runpod\"\nversion = \"1.7.0\"\n";
        let found = listed(&[("pyproject.toml", project), ("uv.lock", lock)]).unwrap();
        assert!(found.names.contains("runpod"));
        assert_eq!(found.contents.len(), 2);
    }
}
