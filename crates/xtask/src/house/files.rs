//! Source files: none over 500 lines, and each Rust file says first what it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// A file that is longer is two files.
const MOST_LINES: usize = 500;

/// Every broken rule, in a sentence each.
pub fn breaches(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut breaches = Vec::new();
    for file in listed(root, &["rs", "py"])? {
        let text = fs::read_to_string(root.join(&file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        let rust = file.extension().is_some_and(|e| e == "rs");
        breaches.extend(of_text(&file.display().to_string(), rust, &text));
    }
    Ok(breaches)
}

/// Files of the repository with one of these extensions, also those that are not committed yet.
pub fn listed(root: &Path, extensions: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot run git, which knows the files of the repository")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    let wanted = |path: &PathBuf| path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x));
    // One that was removed and not committed yet is still listed.
    Ok(text.split('\0').map(PathBuf::from).filter(wanted).filter(|path| root.join(path).is_file()).collect())
}

fn of_text(name: &str, rust: bool, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    let lines = text.lines().count();
    if lines > MOST_LINES {
        breaches
            .push(format!("{name} has {lines} lines; at most {MOST_LINES}: a file that long is two files"));
    }
    if rust && !text.starts_with("//!") {
        breaches
            .push(format!("{name} does not open with `//!`: what it is, where it stands, what it is not"));
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_that_says_what_it_is_passes() {
        assert_eq!(of_text("a.rs", true, "//! A.\n"), [""; 0]);
        assert_eq!(of_text("a.py", false, "import os\n"), [""; 0]);
    }

    #[test]
    fn long_and_silent_files_are_named() {
        let breaches = of_text("a.rs", true, &"x\n".repeat(501));
        assert_eq!(breaches.len(), 2);
        assert!(breaches.iter().all(|b| b.starts_with("a.rs ")), "{breaches:?}");
    }
}
