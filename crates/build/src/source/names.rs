//! What names mean in a Python source: which local name stands for which dotted path, by its imports, and
//! where such paths are used. Imports count wherever they stand, in functions and `try` blocks, too.

use std::collections::{BTreeMap, BTreeSet};

use super::lexer::{Kind, Token, lex};

/// The names that a source reads from its environment, in the order in which they first stand there: `os.environ["X"]`, `os.environ.get("X")`,
/// `os.getenv("X")`, `"X" in os.environ`, under whatever names they were imported. Writing is not reading.
pub fn env_read(source: &str) -> Vec<String> {
    let tokens = lex(source);
    let imported = Imports::of(&tokens);
    let mut names = Vec::new();
    for Use { path, first, after } in imported.uses(&tokens, "os") {
        let name = match path.as_str() {
            "os.environ" => {
                let asked = first >= 2 && is_name(&tokens, first - 1, "in");
                if asked { text(&tokens, first - 2) } else { subscript(&tokens, after) }
            }
            "os.getenv" | "os.environ.get" | "os.environ.pop" | "os.environ.setdefault" => {
                if is_mark(&tokens, after, '(') { text(&tokens, after + 1) } else { None }
            }
            _ => None,
        };
        if let Some(name) = name.filter(|name| !name.is_empty() && !names.iter().any(|known| known == name)) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The top-level modules that a source imports, sorted; imports relative to the own package are not among them.
pub fn imports(source: &str) -> Vec<String> {
    Imports::of(&lex(source)).modules.into_iter().collect()
}

/// The lines on which a source calls the function with this dotted path.
pub fn calls(source: &str, function: &str) -> Vec<u32> {
    let tokens = lex(source);
    Imports::of(&tokens)
        .uses(&tokens, function)
        .into_iter()
        .filter(|used| used.path == function && is_mark(&tokens, used.after, '('))
        .map(|used| tokens[used.first].line)
        .collect()
}

/// A dotted path where it is used: tokens `first..after`.
struct Use {
    path: String,
    first: usize,
    after: usize,
}

/// What a source imports.
struct Imports {
    /// Local name → dotted path.
    names: BTreeMap<String, String>,
    /// Modules whose every name is imported.
    stars: BTreeSet<String>,
    /// Top-level modules.
    modules: BTreeSet<String>,
}

impl Imports {
    fn of(tokens: &[Token]) -> Self {
        let mut imports = Self { names: BTreeMap::new(), stars: BTreeSet::new(), modules: BTreeSet::new() };
        for start in 0..tokens.len() {
            let begins =
                start == 0 || matches!(tokens[start - 1].kind, Kind::Newline | Kind::Mark(';' | ':'));
            if !begins {
                continue;
            }
            if is_name(tokens, start, "import") {
                imports.plain(tokens, start + 1);
            } else if is_name(tokens, start, "from") {
                imports.from(tokens, start + 1);
            }
        }
        imports
    }

    /// `import a.b as c, d`
    fn plain(&mut self, tokens: &[Token], mut at: usize) {
        while let Some((module, after)) = dotted(tokens, at) {
            let top = module.split('.').next().unwrap_or(&module).to_owned();
            self.modules.insert(top.clone());
            at = after;
            if is_name(tokens, at, "as")
                && let Some(alias) = name(tokens, at + 1)
            {
                self.names.insert(alias.to_owned(), module);
                at += 2;
            } else {
                self.names.insert(top.clone(), top);
            }
            if !is_mark(tokens, at, ',') {
                return;
            }
            at += 1;
        }
    }

    /// `from a.b import (c as d, e)`
    fn from(&mut self, tokens: &[Token], at: usize) {
        let Some((module, mut at)) = dotted(tokens, at) else { return };
        if !is_name(tokens, at, "import") {
            return;
        }
        self.modules.insert(module.split('.').next().unwrap_or(&module).to_owned());
        at += 1;
        if is_mark(tokens, at, '*') {
            self.stars.insert(module);
            return;
        }
        if is_mark(tokens, at, '(') {
            at += 1;
        }
        while let Some(thing) = name(tokens, at) {
            let path = format!("{module}.{thing}");
            at += 1;
            if is_name(tokens, at, "as")
                && let Some(alias) = name(tokens, at + 1)
            {
                self.names.insert(alias.to_owned(), path);
                at += 2;
            } else {
                self.names.insert(thing.to_owned(), path);
            }
            if !is_mark(tokens, at, ',') {
                return;
            }
            at += 1;
        }
    }

    /// Every use of `wanted` or of something in it, its first name replaced by what it was imported as. Nothing
    /// else is kept: a source can have a million names, and each may stand for as many modules as have a star.
    fn uses(&self, tokens: &[Token], wanted: &str) -> Vec<Use> {
        let leads = |module: &String| is_or_is_in(wanted, module);
        let stars: Vec<&String> = self.stars.iter().filter(|module| leads(module)).collect();
        let mut uses = Vec::new();
        let mut first = 0;
        while first < tokens.len() {
            let begins = first == 0 || tokens[first - 1].kind != Kind::Mark('.');
            let Some((path, after)) = dotted(tokens, first).filter(|_| begins) else {
                first += 1;
                continue;
            };
            let (head, tail) = path.split_once('.').map_or((path.as_str(), None), |(h, t)| (h, Some(t)));
            let mut paths: Vec<String> = match self.names.get(head) {
                Some(module) => vec![module.clone()],
                None => stars.iter().map(|module| format!("{module}.{head}")).collect(),
            };
            for path in &mut paths {
                if let Some(tail) = tail {
                    path.push('.');
                    path.push_str(tail);
                }
            }
            let paths = paths.into_iter().filter(|path| is_or_is_in(path, wanted));
            uses.extend(paths.map(|path| Use { path, first, after }));
            first = after;
        }
        uses
    }
}

/// Whether a dotted path is `module` or something in it.
fn is_or_is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn name(tokens: &[Token], at: usize) -> Option<&str> {
    match &tokens.get(at)?.kind {
        Kind::Name(name) => Some(name),
        _ => None,
    }
}

fn is_name(tokens: &[Token], at: usize, wanted: &str) -> bool {
    name(tokens, at) == Some(wanted)
}

fn is_mark(tokens: &[Token], at: usize, wanted: char) -> bool {
    tokens.get(at).is_some_and(|token| token.kind == Kind::Mark(wanted))
}

fn text(tokens: &[Token], at: usize) -> Option<&str> {
    match &tokens.get(at)?.kind {
        Kind::Text(text) => text.as_deref(),
        _ => None,
    }
}

/// `a.b.c` from `at` on, and what comes after it.
fn dotted(tokens: &[Token], at: usize) -> Option<(String, usize)> {
    let mut path = name(tokens, at)?.to_owned();
    let mut after = at + 1;
    while is_mark(tokens, after, '.')
        && let Some(next) = name(tokens, after + 1)
    {
        path.push('.');
        path.push_str(next);
        after += 2;
    }
    Some((path, after))
}

/// The text in `["X"]`, unless something is assigned to it.
fn subscript(tokens: &[Token], at: usize) -> Option<&str> {
    let written = is_mark(tokens, at + 3, '=') && !is_mark(tokens, at + 4, '=');
    let whole = is_mark(tokens, at, '[') && is_mark(tokens, at + 2, ']');
    text(tokens, at + 1).filter(|_| whole && !written)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "runpod.serverless.start";

    #[test]
    fn every_way_to_call_start() {
        for source in [
            "import runpod\nrunpod.serverless.start({})",
            "import runpod as rp\nrp.serverless.start({})",
            "import runpod.serverless\nrunpod.serverless.start({})",
            "import runpod.serverless as s\ns.start({})",
            "from runpod import serverless\nserverless.start({})",
            "from runpod import serverless as s\ns.start({})",
            "from runpod.serverless import start\nstart({})",
            "from runpod.serverless import (a,\n start as go,)\ngo({})",
            "from runpod.serverless import *\nstart({})",
            "import os, runpod as rp\n(rp\n .serverless\n .start)\nrp.serverless.start ( {} )",
            "if True: import runpod\nrunpod.serverless.start({'a': f'{1}'})",
            "def main():\n    import runpod; runpod.serverless.start({})",
        ] {
            assert_eq!(calls(source, START).len(), 1, "{source}");
        }
    }

    #[test]
    fn what_only_looks_like_a_call() {
        for source in [
            "# import runpod\n# runpod.serverless.start({})",
            "import runpod\n'''\nrunpod.serverless.start({})\n'''",
            "import runpod\nx.runpod.serverless.start({})",
            "import runpod\nrunpod.serverless.start",
            "import runpod\nrunpod.serverless.starter({})",
            "from other import runpod\nrunpod.serverless.start({})",
            "from .runpod import serverless\nserverless.start({})",
            "def start(): pass\nstart()",
        ] {
            assert_eq!(calls(source, START), Vec::<u32>::new(), "{source}");
        }
        assert_eq!(calls("import runpod\n\n\nrunpod.serverless.start(\n{}\n)", START), [4]);
    }

    #[test]
    fn environment_reads() {
        let source = r#"
import os
from os import environ as e, getenv
a = os.environ["A"] + os.environ.get('B', "x") + os.getenv("C")
b = e["D"], e.get("E"), getenv(
    "F",
)
os.environ["WRITTEN"] = "1"
if os.environ["G"] == "1": pass
print(f"{os.environ['H']} {os.getenv("I")}")
"J" in os.environ
os.environ.setdefault("K", "v")
name = os.environ[dynamic], os.getenv(b"no"), os.getenv(f"{no}")
# os.getenv("COMMENT")
"os.getenv('STRING')"
other.environ["OTHER"], other.os.environ["OTHER"]
"#;
        assert_eq!(env_read(source).join(""), "ABCDEFGHIJK");
        assert_eq!(env_read("import os as o\no.environ['X']\nos.environ['Y']"), ["X"]);
        assert_eq!(env_read("from os import *\nenviron['X']"), ["X"]);
    }

    #[test]
    fn many_stars_cost_no_memory() {
        let modules: Vec<String> = (0..3_000).map(|n| format!("from m{n} import *")).collect();
        let stars = modules.join("\n");
        let source = format!("from os import *\n{stars}\n{}", "environ['X'] ".repeat(30_000));
        assert_eq!(env_read(&source), ["X"]);
    }

    #[test]
    fn imported_modules() {
        let source = "import a.b, c as d\nfrom e.f import (\n g,\n)\nfrom . import h\nfrom .i import j\ntry:\n import k\nexcept: import l\nx = 'import m'\nraise X from n";
        assert_eq!(imports(source), ["a", "c", "e", "k", "l"]);
    }
}
