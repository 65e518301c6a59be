//! The documents name files that are there: links of every page, and paths of the repository in code marks.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::files;

/// Where a path in code marks has to begin to be looked at.
const FOLDERS: [&str; 5] = ["crates/", "docs/", "examples/", "tests/", ".ci/"];

/// Every broken rule, in a sentence each.
pub fn breaches(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut breaches = Vec::new();
    for page in files::listed(root, &["md"])? {
        let text = fs::read_to_string(root.join(&page))
            .with_context(|| format!("cannot read {}", page.display()))?;
        let folder = root.join(page.parent().unwrap_or(Path::new("")));
        let links = links(&text).into_iter().filter(|link| !folder.join(link).exists());
        breaches.extend(links.map(|link| format!("{} links to {link}, which is not there", page.display())));
        let paths = paths(&text).into_iter().filter(|path| !root.join(path).exists());
        breaches.extend(paths.map(|path| format!("{} names `{path}`, which is not there", page.display())));
    }
    Ok(breaches)
}

/// Targets of links within the repository, without what follows a `#`.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.filter(|target| !target.contains("://") && !target.contains(' '));
    targets.filter_map(|target| target.split('#').next()).filter(|target| !target.is_empty()).collect()
}

/// Paths of the repository in code marks; patterns and placeholders are none.
fn paths(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let marked = prose.flat_map(|part| part.split('`').skip(1).step_by(2));
    let path = |mark: &&str| {
        FOLDERS.iter().any(|folder| mark.starts_with(folder))
            && !mark.contains(|c: char| c.is_whitespace() || "*<>{}…".contains(c))
    };
    marked.filter(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_paths_are_found() {
        let text = "See [a](docs/a.md#b), [b](https://x.y/z) and [c](#d): `crates/x/src/y.rs`, `crates/*`, `run`.\n\
                    ```\n`docs/not-this`\n```\n`examples/hello`";
        assert_eq!(links(text), ["docs/a.md"]);
        assert_eq!(paths(text), ["crates/x/src/y.rs", "examples/hello"]);
    }
}
