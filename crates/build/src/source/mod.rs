//! Reads Python source without importing it: which file of a folder is the handler, which modules and which
//! environment variables a source names. Importing would run the user's code, and load his models, in the
//! server.

mod lexer;
pub(crate) mod names;
mod shell;

use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

pub use names::{env_read, imports};
pub use shell::{ShellReads, shell_env};

use crate::walk::python_files;

/// The most Python files that are looked at.
pub const MOST_FILES: usize = 2000;

/// The most bytes of one file that are looked at.
pub const MOST_BYTES: u64 = 2 * 1024 * 1024;

/// The function whose call makes a file a handler.
const START: &str = "runpod.serverless.start";

/// Where handlers usually are, best first.
const USUAL: [&str; 9] = [
    "handler.py",
    "rp_handler.py",
    "src/handler.py",
    "src/rp_handler.py",
    "main.py",
    "app.py",
    "src/main.py",
    "src/app.py",
    "worker.py",
];

/// Folders whose files are no handlers even if they start one.
const NOT_HANDLERS: [&str; 5] = ["tests", "test", "site-packages", "docs", "build"];

/// A file that starts a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// The file, relative to the folder.
    pub file: PathBuf,
    /// The line of the call of `runpod.serverless.start`, from 1.
    pub line: u32,
}

/// Why there is no handler.
#[derive(Debug, Error)]
pub enum NoHandler {
    /// No file calls `runpod.serverless.start`.
    #[error(
        "No Python file in {} calls runpod.serverless.start(...) (looked at {looked}{}). End your handler with \
         runpod.serverless.start({{\"handler\": handler}}), or name its file with --handler FILE.",
        dir.display(), if *more { ", there are more" } else { "" }
    )]
    None {
        /// The folder.
        dir: PathBuf,
        /// How many files were looked at.
        looked: usize,
        /// Whether there were more than that.
        more: bool,
    },
    /// Several files do, and none has a usual name.
    #[error(
        "Several files call runpod.serverless.start(...): {}. Choose one with --handler FILE.",
        list(files)
    )]
    Several {
        /// The files, relative to the folder.
        files: Vec<PathBuf>,
    },
    /// The named file does not call it.
    #[error(
        "{} does not call runpod.serverless.start(...). End it with \
         runpod.serverless.start({{\"handler\": handler}}).", file.display()
    )]
    NoCall {
        /// The file.
        file: PathBuf,
    },
    /// The named file is outside of the folder.
    #[error("{} is not inside the folder that is deployed; --handler takes a path relative to it.", file.display())]
    Outside {
        /// The file.
        file: PathBuf,
    },
    /// A file or the folder could not be read.
    #[error("Cannot read {}: {source}.", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn list(files: &[PathBuf]) -> String {
    let mut names: Vec<String> = files.iter().take(10).map(|file| file.display().to_string()).collect();
    if files.len() > names.len() {
        names.push(format!("and {} more", files.len() - names.len()));
    }
    names.join(", ")
}

/// The handler of a folder, or the file itself when it is one.
///
/// Files with usual names come first, in their order; then the one that is nearest to the top. Two that are
/// equally near are an error, as is none.
pub fn find_handler(dir_or_file: &Path) -> Result<Handler, NoHandler> {
    let meta = fs::metadata(dir_or_file)
        .map_err(|source| NoHandler::Read { path: dir_or_file.to_path_buf(), source })?;
    if meta.is_file() {
        let file = PathBuf::from(dir_or_file.file_name().unwrap_or_default());
        let dir = dir_or_file.parent().unwrap_or(Path::new(""));
        return match start_line(dir, &file)? {
            Some(line) => Ok(Handler { file, line }),
            None => Err(NoHandler::NoCall { file: dir_or_file.to_path_buf() }),
        };
    }

    let dir = dir_or_file;
    for usual in USUAL {
        let file = PathBuf::from(usual);
        if dir.join(&file).is_file()
            && let Some(line) = start_line(dir, &file)?
        {
            return Ok(Handler { file, line });
        }
    }
    let (files, more) = python_files(dir, MOST_FILES, &NOT_HANDLERS);
    let looked = files.len();
    let mut best: Vec<Handler> = Vec::new();
    for file in files {
        let depth = file.components().count();
        let best_depth = best.first().map_or(usize::MAX, |handler| handler.file.components().count());
        // A file that cannot be read is not the handler; packing will say that it cannot be read.
        if depth <= best_depth
            && let Ok(Some(line)) = start_line(dir, &file)
        {
            if depth < best_depth {
                best.clear();
            }
            best.push(Handler { file, line });
        }
    }
    match best.len() {
        0 => Err(NoHandler::None { dir: dir.to_path_buf(), looked, more }),
        1 => Ok(best.swap_remove(0)),
        _ => Err(NoHandler::Several { files: best.into_iter().map(|handler| handler.file).collect() }),
    }
}

/// The handler that a user named with `--handler FILE`, relative to the folder. He may know better where the
/// call is, so that it is not looked for in other files: line 1 then.
pub fn named_handler(dir: &Path, file: &Path) -> Result<Handler, NoHandler> {
    let mut clean = PathBuf::new();
    for part in file.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            _ => return Err(NoHandler::Outside { file: file.to_path_buf() }),
        }
    }
    let line = start_line(dir, &clean)?.unwrap_or(1);
    Ok(Handler { file: clean, line })
}

/// The source of a file as far as it is looked at; what is not UTF-8 is replaced.
pub fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn start_line(dir: &Path, file: &Path) -> Result<Option<u32>, NoHandler> {
    let path = dir.join(file);
    match read(&path) {
        Ok(source) => Ok(names::calls(&source, START).first().copied()),
        Err(source) => Err(NoHandler::Read { path, source }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CALL: &str = "import runpod\nrunpod.serverless.start({'handler': h})\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn found(files: &[(&str, &str)]) -> Result<String, String> {
        find_handler(folder(files).path())
            .map(|handler| format!("{}:{}", handler.file.display(), handler.line))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn usual_names_come_first() {
        assert_eq!(
            found(&[("zzz.py", CALL), ("src/handler.py", CALL), ("main.py", CALL)]).unwrap(),
            "src/handler.py:2"
        );
        assert_eq!(found(&[("handler.py", "def h(): pass"), ("serve.py", CALL)]).unwrap(), "serve.py:2");
    }

    #[test]
    fn the_nearest_of_the_others_is_taken() {
        assert_eq!(found(&[("a/b/c.py", CALL), ("d/e.py", CALL)]).unwrap(), "d/e.py:2");
        assert_eq!(
            found(&[("one.py", CALL), ("two.py", CALL)]).unwrap_err(),
            "Several files call runpod.serverless.start(...): one.py, two.py. Choose one with --handler FILE."
        );
    }

    #[test]
    fn ignored_and_test_files_are_no_handlers() {
        let error = found(&[
            ("tests/test_it.py", CALL),
            (".venv/x.py", CALL),
            ("gone.py", CALL),
            (".gitignore", "gone.py"),
            ("kept.py", ""),
        ])
        .unwrap_err();
        assert!(error.contains("(looked at 1)"), "{error}");
        assert!(error.contains("--handler FILE"), "{error}");
    }

    #[test]
    fn a_file_stands_for_itself() {
        let dir = folder(&[("any.py", CALL), ("none.py", "x = 1")]);
        assert_eq!(
            find_handler(&dir.path().join("any.py")).unwrap(),
            Handler { file: "any.py".into(), line: 2 }
        );
        assert!(matches!(find_handler(&dir.path().join("none.py")), Err(NoHandler::NoCall { .. })));
        assert!(matches!(find_handler(&dir.path().join("gone.py")), Err(NoHandler::Read { .. })));
    }

    #[test]
    fn a_named_handler_stays_inside() {
        let dir = folder(&[("a/any.py", CALL), ("b.py", "from a import any")]);
        assert_eq!(named_handler(dir.path(), Path::new("./a/any.py")).unwrap().line, 2);
        assert_eq!(named_handler(dir.path(), Path::new("b.py")).unwrap().line, 1);
        assert!(matches!(named_handler(dir.path(), Path::new("../b.py")), Err(NoHandler::Outside { .. })));
        assert!(matches!(named_handler(dir.path(), Path::new("/etc/b.py")), Err(NoHandler::Outside { .. })));
    }
}
