//! The Python environment of a release: what it must hold ([`plan`]), and a folder that holds it ([`prepare`]).
//!
//! Installers run code of the packages that they install, so they are held like workers, where [`prepare`] is
//! given a [`Confine`].
//!
//! Environments are shared: one folder per content hash of interpreter, platform, requirements and additions,
//! so that a release that changes only code starts from the environment of the one before.

mod command;
mod confine;
mod installer;
mod owner;
mod prepare;
pub(crate) mod python;
pub(crate) mod requirements;
mod sources;

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use confine::{Confine, IN_USE};
pub use prepare::{Environment, EnvironmentError, is_complete, last_used, prepare, touch};
pub use python::Interpreter;

use crate::source;
use crate::walk::python_files;
use requirements::Listed;

/// What is installed where the code imports the SDK and nothing names it. RunPod's images bring it along.
const RUNPOD: &str = "runpod>=1.7";

/// Goes into every hash: raising it makes all environments anew.
const GENERATION: &str = "runyard environment 1";

/// Where the requirements come from; paths are relative to the code folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirements {
    /// The code needs nothing, or nothing says so.
    None,
    /// A `requirements.txt`.
    Txt(PathBuf),
    /// The `[project]` dependencies of a `pyproject.toml`.
    Pyproject(PathBuf),
    /// A `uv.lock`, with the `pyproject.toml` beside it.
    Lock(PathBuf),
}

impl Requirements {
    /// The file's name as users know it.
    pub fn label(&self) -> String {
        match self {
            Self::None => "no requirements".to_owned(),
            Self::Txt(path) | Self::Pyproject(path) | Self::Lock(path) => path.display().to_string(),
        }
    }
}

/// An environment that is wanted.
#[derive(Debug, Clone)]
pub struct EnvPlan {
    /// Names the environment: SHA-256 in hex.
    pub hash: String,
    /// The folder with the code, absolute; requirements are read there.
    pub code_dir: PathBuf,
    /// What is to be installed.
    pub requirements: Requirements,
    /// Whether `runpod` is added: the code imports it, and the requirements do not name it.
    pub adds_runpod: bool,
    /// The interpreter.
    pub python: Interpreter,
    /// The dependencies of a `pyproject.toml`, for pip, which cannot read one.
    listed: Vec<String>,
    /// Whether something is built from a folder beside the code.
    folders: bool,
    /// Whether what is installed points back to its folder.
    editable: bool,
}

/// Why there is no plan. All but `Read` and `Probe` are the user's to mend.
#[derive(Debug, Error)]
pub enum PlanError {
    /// A file could not be read.
    #[error("Cannot read {}: {source}.", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A requirements file includes one that is not in the folder.
    #[error(
        "{} includes {include}, which is {problem}. Put it into the folder that is deployed.", file.display()
    )]
    Include {
        /// The file that includes.
        file: PathBuf,
        /// What it includes, as written.
        include: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The file that was asked for is not there.
    #[error(
        "The requirements {} that build.requirements names are not in the folder that is deployed.", file.display()
    )]
    NoRequirements {
        /// Which.
        file: PathBuf,
    },
    /// A file is not valid TOML.
    #[error("{}: line {line}, column {column}: {problem}.", file.display())]
    Toml {
        /// Which.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        problem: String,
    },
    /// Dependencies in a form that only Poetry reads.
    #[error(
        "{} lists its dependencies for Poetry alone. Run `poetry export -o requirements.txt` and deploy again, \
         or list them under [project].", file.display()
    )]
    Poetry {
        /// The `pyproject.toml`.
        file: PathBuf,
    },
    /// No interpreter fits.
    #[error(
        "{origin} asks for Python {wanted}, and there is {found}. Install one that fits, or change {origin}."
    )]
    NoPython {
        /// The file that asks.
        origin: &'static str,
        /// For what.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// There is no Python at all.
    #[error("There is no working python3 on the PATH. Install Python 3.10 or newer.")]
    Probe,
}

/// What is asked of an environment beyond what the code's own files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// The interpreter: `3.12`, or a specifier as `>=3.10,<3.13`.
    pub python: Option<String>,
    /// The file with the requirements, below the code's folder: in pip's format, or a `pyproject.toml` or `uv.lock`.
    pub requirements: Option<PathBuf>,
}

/// Plans the environment of a folder whose handler is `handler`, a path relative to it. Starts interpreters to
/// ask for their version, so it blocks for some ten milliseconds.
///
/// `requirements.txt` comes first, being what RunPod's images install, then `uv.lock`, then `pyproject.toml`;
/// each is looked for at the top, beside the handler, and in `builder/`.
pub fn plan(code_dir: &Path, handler: &Path) -> Result<EnvPlan, PlanError> {
    plan_as_asked(code_dir, handler, &Asked::default())
}

/// [`plan`], where something else is asked for than the code's files say.
pub fn plan_as_asked(code_dir: &Path, handler: &Path, asked: &Asked) -> Result<EnvPlan, PlanError> {
    let code_dir =
        code_dir.canonicalize().map_err(|source| PlanError::Read { path: code_dir.to_path_buf(), source })?;
    let python = python::find(&code_dir, asked.python.as_deref())?;
    let (requirements, listed) = match &asked.requirements {
        Some(file) => requirements::named(&code_dir, file)?,
        None => requirements::find(&code_dir, handler)?,
    };
    let adds_runpod = !listed.names.contains("runpod") && imports_runpod(&code_dir, handler);
    let hash = hash(&python, &requirements, &listed, adds_runpod);
    let Listed { lines, folders, editable, .. } = listed;
    let folders = folders || editable;
    Ok(EnvPlan { hash, code_dir, requirements, adds_runpod, python, listed: lines, folders, editable })
}

/// Whether the handler, or any file of the folder, imports the SDK.
fn imports_runpod(code_dir: &Path, handler: &Path) -> bool {
    let imports = |file: &Path| {
        source::read(&code_dir.join(file)).is_ok_and(|text| {
            text.contains("runpod") && source::imports(&text).iter().any(|name| name == "runpod")
        })
    };
    imports(handler) || python_files(code_dir, source::MOST_FILES, &[]).0.iter().any(|file| imports(file))
}

fn hash(python: &Interpreter, requirements: &Requirements, listed: &Listed, adds_runpod: bool) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(GENERATION.as_bytes());
    add(python.version.as_bytes());
    add(python.platform.as_bytes());
    add(match requirements {
        Requirements::None => b"none",
        Requirements::Txt(_) => b"txt",
        Requirements::Pyproject(_) => b"pyproject",
        Requirements::Lock(_) => b"lock",
    });
    for (name, content) in &listed.contents {
        add(name.as_bytes());
        add(content);
    }
    add(if adds_runpod { RUNPOD.as_bytes() } else { b"" });
    crate::bundle::hex(&hash.finalize())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn planned(files: &[(&str, &str)]) -> Result<EnvPlan, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        plan(dir.path(), Path::new("handler.py")).map_err(|error| error.to_string())
    }

    #[test]
    fn runpod_is_added_where_it_is_imported_and_not_named() {
        let adds = |requirements: &str, handler: &str| {
            planned(&[("requirements.txt", requirements), ("handler.py", handler)]).unwrap().adds_runpod
        };
        assert!(adds("numpy\n", "import runpod"));
        assert!(adds("# runpod\nrunpod-flash", "from runpod.serverless import start"));
        assert!(!adds("RunPod[extra] ~= 1.7 # sdk", "import runpod"));
        assert!(!adds("numpy", "print('import runpod')"));
        assert!(
            planned(&[("handler.py", "import sub"), ("sub/__init__.py", "import runpod")])
                .unwrap()
                .adds_runpod
        );
    }

    #[test]
    fn the_hash_follows_content_and_not_code() {
        let hash = |files: &[(&str, &str)]| planned(files).unwrap().hash;
        let base = hash(&[("requirements.txt", "numpy"), ("handler.py", "import runpod")]);
        assert_eq!(base, hash(&[("requirements.txt", "numpy"), ("handler.py", "import runpod, os")]));
        assert_ne!(base, hash(&[("requirements.txt", "numpy>1"), ("handler.py", "import runpod")]));
        assert_ne!(base, hash(&[("requirements.txt", "numpy"), ("handler.py", "")]));
        assert_eq!(base.len(), 64);
    }

    #[test]
    fn sources_have_an_order() {
        let project = "[project]\nname = 'x'\ndependencies = ['numpy']\n";
        let of = |files: &[(&str, &str)]| planned(files).unwrap().requirements.label();
        assert_eq!(of(&[("handler.py", "")]), "no requirements");
        assert_eq!(of(&[("pyproject.toml", project)]), "pyproject.toml");
        assert_eq!(of(&[("pyproject.toml", project), ("uv.lock", "")]), "uv.lock");
        assert_eq!(
            of(&[("pyproject.toml", project), ("uv.lock", ""), ("requirements.txt", "")]),
            "requirements.txt"
        );
        assert_eq!(of(&[("builder/requirements.txt", "")]), "builder/requirements.txt");
        assert_eq!(of(&[("pyproject.toml", "[tool.ruff]\nline-length = 100")]), "no requirements");
        let poetry = "[tool.poetry.dependencies]\npython = '^3.11'\nnumpy = '*'";
        assert!(planned(&[("pyproject.toml", poetry)]).unwrap_err().contains("poetry export"));
        let broken = planned(&[("pyproject.toml", "[project\n")]).unwrap_err();
        assert!(broken.starts_with("pyproject.toml: line 1, column"), "{broken}");
    }

    #[test]
    fn what_is_asked_for_goes_before_what_the_files_say() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
        };
        put("handler.py", "");
        put("requirements.txt", "numpy");
        put("gpu/worker.txt", "pillow");
        put("gpu/pyproject.toml", "[project]\nname = 'x'\ndependencies = ['six']\n");
        put(".python-version", "2.6");
        let asked = |python: &str, file: Option<&str>| {
            let asked = Asked { python: Some(python.to_owned()), requirements: file.map(PathBuf::from) };
            plan_as_asked(dir.path(), Path::new("handler.py"), &asked).map_err(|error| error.to_string())
        };
        let label = |file: Option<&str>| asked(">=3.8", file).unwrap().requirements.label();
        assert_eq!(label(None), "requirements.txt");
        assert_eq!(label(Some("gpu/worker.txt")), "gpu/worker.txt");
        let pyproject = asked(">=3.8", Some("gpu/pyproject.toml")).unwrap();
        assert_eq!(pyproject.requirements, Requirements::Pyproject("gpu/pyproject.toml".into()));
        assert_eq!(pyproject.listed, ["six"]);
        let error = asked("3.99", None).unwrap_err();
        assert!(error.contains("build.python asks for Python 3.99"), "{error}");
        let error = asked(">=3.8", Some("none.txt")).unwrap_err();
        assert!(error.contains("none.txt that build.requirements names"), "{error}");
    }

    #[test]
    fn an_interpreter_that_is_not_there_is_named() {
        let error = planned(&[(".python-version", "2.6\n")]).unwrap_err();
        assert!(error.contains(".python-version asks for Python 2.6"), "{error}");
        let error = planned(&[("pyproject.toml", "[project]\nrequires-python = '>=3.99'")]).unwrap_err();
        assert!(error.contains("pyproject.toml asks for Python >=3.99"), "{error}");
    }
}
