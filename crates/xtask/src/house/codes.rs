//! Every stable code has a page in `docs/errors/`, every page a code and a line in the index. The codes are read
//! from the sources, where each stands once, as a text.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

/// Files whose functions `code` name codes.
const NAMED: [&str; 6] = [
    "crates/domain/src/reason/fail.rs",
    "crates/domain/src/reason/run.rs",
    "crates/domain/src/reason/wait.rs",
    "crates/domain/src/image/fault.rs",
    "crates/gateway/src/jobs/error.rs",
    "crates/listener/src/refusal.rs",
];

/// The file whose calls of `Problem::new` name codes, after the status.
const PROBLEMS: &str = "crates/manage/src/problem.rs";

/// Every broken rule, in a sentence each.
pub fn breaches(root: &Path) -> anyhow::Result<Vec<String>> {
    let read =
        |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"));
    let mut codes = BTreeSet::new();
    for file in NAMED {
        let found = returned_codes(&read(file)?);
        if found.is_empty() {
            bail!("no code was found in {file}: crates/xtask/src/house/codes.rs reads it wrongly now");
        }
        codes.extend(found);
    }
    codes.extend(problem_codes(&read(PROBLEMS)?));

    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(root.join("docs/errors")).context("cannot read docs/errors")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        pages.extend(name.strip_suffix(".md").filter(|page| *page != "README").map(str::to_owned));
    }
    let index = read("docs/errors/README.md")?;
    let lacking =
        codes.difference(&pages).map(|code| format!("the code `{code}` has no page docs/errors/{code}.md"));
    let stale = pages.difference(&codes).map(|page| format!("docs/errors/{page}.md is the page of no code"));
    let unlisted = pages.iter().filter(|page| !index.contains(&format!("]({page}.md)")));
    let unlisted = unlisted.map(|page| format!("docs/errors/README.md does not list {page}.md"));
    Ok(lacking.chain(stale).chain(unlisted).collect())
}

/// The texts inside functions that are called `code`.
fn returned_codes(source: &str) -> Vec<String> {
    let bodies = source.split("fn code(&self) -> &'static str {").skip(1);
    let bodies = bodies.filter_map(|rest| rest.split("\n    }\n").next());
    bodies
        .flat_map(|body| body.split('"').skip(1).step_by(2))
        .filter(|text| is_code(text))
        .map(str::to_owned)
        .collect()
}

/// The first text after each `StatusCode::…,`.
fn problem_codes(source: &str) -> Vec<String> {
    let after = source.split("StatusCode::").skip(1);
    let texts = after.filter_map(|rest| {
        let (status, rest) = rest.split_once(',')?;
        let constant = status.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        constant.then(|| rest.trim_start().strip_prefix('"')?.split('"').next())?
    });
    texts.filter(|text| is_code(text)).map(str::to_owned).collect()
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_where_they_stand() {
        let source = "impl A {\n    pub fn code(&self) -> &'static str {\n        match self {\n            \
                      Self::X => \"all_busy\",\n            Self::Y => \"no_room\",\n        }\n    }\n\n    \
                      fn other() { \"not_this\" }\n}\n";
        assert_eq!(returned_codes(source), ["all_busy", "no_room"]);
        let problems = "Self::new(StatusCode::BAD_REQUEST, \"invalid\", \"Invalid request\", detail)\n\
                        status: StatusCode,\nSelf::new(\n    StatusCode::CONFLICT,\n    \"conflict\",\n)";
        assert_eq!(problem_codes(problems), ["invalid", "conflict"]);
    }
}
