//! A folder with a Dockerfile as a build context: what `.dockerignore` leaves of it, packed like any other bundle. No
//! other ignore file counts: weights that Git ignores may well belong into an image.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::bundle::{Bundle, BundleError, Limits, Look, PROJECT, archive_of, real};

/// The usual ignore file.
const IGNORE_FILE: &str = ".dockerignore";

/// Packs a build context within the usual limits. `dockerfile` is relative to the folder.
pub fn pack_context(folder: &Path, dockerfile: &str) -> Result<Bundle, BundleError> {
    let limits = Limits::default();
    let root = real(folder)?;
    let ignored = Ignored::read(&root, dockerfile);
    let keep =
        |name: &str| name != PROJECT && (name == dockerfile || name == IGNORE_FILE || !ignored.hides(name));
    let mut files = BTreeMap::new();
    Look { root: &root, limits: &limits, walk: everything, keep: &keep }.collect(&root, "", 0, &mut files)?;
    archive_of(&files, folder, &limits)
}

fn everything(dir: &Path) -> WalkBuilder {
    let mut builder = WalkBuilder::new(dir);
    builder.standard_filters(false).follow_links(false).sort_by_file_name(Ord::cmp);
    builder
}

/// The lines of an ignore file. The last one that matches a file, or a folder that it is in, decides.
struct Ignored(Vec<(Gitignore, bool)>);

impl Ignored {
    /// A Dockerfile may have an ignore file of its own, which then stands for the usual one.
    fn read(root: &Path, dockerfile: &str) -> Self {
        let own = fs::read_to_string(root.join(format!("{dockerfile}.dockerignore")));
        let text = own.or_else(|_| fs::read_to_string(root.join(IGNORE_FILE))).unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.filter_map(rule).collect())
    }

    fn hides(&self, name: &str) -> bool {
        let matches = |rule: &Gitignore| rule.matched_path_or_any_parents(name, false).is_ignore();
        self.0.iter().rev().find(|(rule, _)| matches(rule)).is_some_and(|(_, hides)| *hides)
    }
}

/// One line: here a name without a path means the top of the folder, not any place in it.
fn rule(line: &str) -> Option<(Gitignore, bool)> {
    let (line, hides) = match line.strip_prefix('!') {
        Some(rest) => (rest.trim(), false),
        None => (line, true),
    };
    let line = line.trim_start_matches("./").trim_matches('/');
    if line.is_empty() || line == "." {
        return None;
    }
    let mut builder = GitignoreBuilder::new("");
    // A pattern that is none is no reason to send nothing.
    builder.add_line(None, &format!("/{line}")).ok()?;
    Some((builder.build().ok()?, hides))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_mean_what_docker_means() {
        let ignored =
            Ignored::parse("# note\n*.md\n!README.md\nnode_modules/\n**/*.pyc\ndata\n!data/keep.txt\n");
        for (name, hidden) in [
            ("a.md", true),
            ("README.md", false),
            ("docs/a.md", false),
            ("node_modules/x/y.js", true),
            ("sub/node_modules/x", false),
            ("a.pyc", true),
            ("x/y/b.pyc", true),
            ("data/big", true),
            ("data/keep.txt", false),
            ("handler.py", false),
        ] {
            assert_eq!(ignored.hides(name), hidden, "{name}");
        }
        assert!(!Ignored::parse("").hides("x"));
    }

    #[test]
    fn only_its_own_ignore_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("Dockerfile", "FROM scratch"),
            (".gitignore", "weights\n"),
            (".dockerignore", "*\n!weights\n"),
            ("weights", "w"),
            ("secret", "s"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let files = pack_context(dir.path(), "Dockerfile").unwrap().files;
        // Dockerfile, ignore file, weights.
        assert_eq!(files, 3);
        fs::write(dir.path().join("Dockerfile.dockerignore"), "secret\n").unwrap();
        // All but the secret.
        assert_eq!(pack_context(dir.path(), "Dockerfile").unwrap().files, 5);
    }
}
