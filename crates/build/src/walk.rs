//! The one way to look through a user's folder: what the ignore files hide and what never belongs into a
//! release is left out, for the search of the handler and for the bundle alike.

use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

/// Folders that are never part of a release: they are made again, or belong to other tools.
const NEVER_FOLDERS: [&str; 5] = [".git", "__pycache__", ".venv", "venv", "node_modules"];

/// Name of the ignore file of our own; its `!lines` bring back what `.gitignore` hides.
const IGNORE_FILE: &str = ".runyardignore";

/// Whether a name is one that is never part of a release.
pub fn never(name: &str, is_dir: bool) -> bool {
    if is_dir {
        NEVER_FOLDERS.contains(&name)
    } else {
        Path::new(name).extension().is_some_and(|end| end == "pyc") || name == ".git"
    }
}

/// A walker over `dir` that respects `.gitignore` and `.runyardignore`, does not follow links, and shows hidden
/// files. Entries come sorted by name.
///
/// Ignore files of the folders above count only up to the root of the Git repository that `dir` is in: a
/// `.gitignore` in a home folder says nothing about a folder that merely lies there.
pub fn walker(dir: &Path) -> WalkBuilder {
    let in_repository =
        dir.canonicalize().is_ok_and(|dir| dir.ancestors().skip(1).any(|above| above.join(".git").exists()));
    let mut builder = WalkBuilder::new(dir);
    builder
        .hidden(false)
        .ignore(false)
        .parents(in_repository)
        .git_ignore(true)
        .git_exclude(true)
        .git_global(false)
        .require_git(false)
        .follow_links(false)
        .add_custom_ignore_filename(IGNORE_FILE)
        .filter_entry(|entry| {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            entry.depth() == 0 || !never(&entry.file_name().to_string_lossy(), is_dir)
        })
        .sort_by_file_name(Ord::cmp);
    builder
}

/// Up to `most` Python files of a folder, as paths relative to it, sorted, without `skip`ped folder names.
/// The flag says whether there were more. What cannot be read is passed by.
pub fn python_files(dir: &Path, most: usize, skip: &[&str]) -> (Vec<PathBuf>, bool) {
    let mut files = Vec::new();
    for entry in walker(dir).build().flatten() {
        let Ok(relative) = entry.path().strip_prefix(dir) else { continue };
        let skipped = relative
            .parent()
            .is_some_and(|parent| parent.iter().any(|part| skip.iter().any(|name| part == *name)));
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file() || kind.is_symlink());
        if skipped || !is_file || relative.extension().is_none_or(|extension| extension != "py") {
            continue;
        }
        if files.len() == most {
            return (files, true);
        }
        files.push(relative.to_path_buf());
    }
    (files, false)
}
