//! Which environment variables a shell script reads: those that it branches on first, as a start script does that
//! leads one image into two lives.

/// What any shell has, or sets by itself.
const ALWAYS: [&str; 20] = [
    "PATH",
    "HOME",
    "PWD",
    "OLDPWD",
    "USER",
    "SHELL",
    "HOSTNAME",
    "TERM",
    "LANG",
    "IFS",
    "UID",
    "EUID",
    "PPID",
    "RANDOM",
    "SECONDS",
    "OPTARG",
    "OPTIND",
    "SHLVL",
    "REPLY",
    "BASH_SOURCE",
];

/// Words that stand before an assignment.
const DECLARING: [&str; 5] = ["export", "local", "readonly", "declare", "typeset"];

/// What a script reads of its environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShellReads {
    /// Variables in conditions: their values decide what the script does.
    pub branches: Vec<String>,
    /// Further ones without a default.
    pub others: Vec<String>,
}

/// Reads a script's source.
pub fn shell_env(source: &str) -> ShellReads {
    let mut reads = ShellReads::default();
    let mut assigned: Vec<String> = Vec::new();
    for line in source.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let branches = is_condition(line);
        if line.starts_with("for ") || line.starts_with("read ") {
            assigned.extend(assignments(line));
        }
        for (name, has_default) in variables(line) {
            let known = |names: &[String]| names.contains(&name);
            if known(&assigned) || known(&reads.branches) || ALWAYS.contains(&name.as_str()) {
                continue;
            }
            if branches {
                reads.others.retain(|other| *other != name);
                reads.branches.push(name);
            } else if !has_default && !known(&reads.others) {
                reads.others.push(name);
            }
        }
        // After the reading: `X=${X:-pod}` hands on what was given.
        let own = assignments(line);
        assigned.extend(own.into_iter().filter(|name| !line.contains(&format!("${{{name}:"))));
    }
    reads
}

fn is_condition(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    ["case", "if", "elif", "while", "until", "[", "[[", "test"].contains(&first)
        || line.contains("[[ ")
        || line.contains(" [ ")
}

/// Names that a line expands, with whether it says what else to take. Single quotes hide them.
fn variables(line: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut quoted = (false, false);
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'\'' if !quoted.1 => quoted.0 = !quoted.0,
            b'"' if !quoted.0 => quoted.1 = !quoted.1,
            b'#' if quoted == (false, false) && at > 0 && bytes[at - 1].is_ascii_whitespace() => break,
            b'$' if !quoted.0 => {
                let braced = bytes.get(at + 1) == Some(&b'{');
                let start = at + 1 + usize::from(braced);
                let len = bytes[start.min(bytes.len())..].iter().take_while(|b| is_name(**b)).count();
                let name = &line[start.min(line.len())..start.min(line.len()) + len];
                if is_variable(name) {
                    let has_default =
                        braced && matches!(bytes.get(start + len), Some(b':' | b'-' | b'+' | b'='));
                    found.push((name.to_owned(), has_default));
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Names that a line sets.
fn assignments(line: &str) -> Vec<String> {
    let mut words = line.split_whitespace().peekable();
    match words.peek() {
        Some(&"for" | &"read") => {
            return words.skip(1).filter(|word| is_variable(word)).map(str::to_owned).collect();
        }
        Some(first) if DECLARING.contains(first) => {
            words.next();
        }
        _ => {}
    }
    let names = words.map_while(|word| word.split_once('=')).map(|(name, _)| name);
    names.filter(|name| is_variable(name)).map(str::to_owned).collect()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Environment variables are written in capitals.
fn is_variable(name: &str) -> bool {
    name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(source: &str) -> (Vec<String>, Vec<String>) {
        let ShellReads { branches, others } = shell_env(source);
        (branches, others)
    }

    #[test]
    fn what_a_script_branches_on_comes_first() {
        let script = "#!/bin/bash\n# $NOT\ncd \"$APP_DIR\"\ncase \"${MODE_TO_RUN:-pod}\" in\nserverless) exec python -u h.py;;\n\
                      *) echo \"$MODE_TO_RUN?\" '$NEITHER';;\nesac\n";
        assert_eq!(reads(script), (vec!["MODE_TO_RUN".to_owned()], vec!["APP_DIR".to_owned()]));
        let script = "if [[ $MODE_TO_RUN == serverless ]]; then x; elif [ \"$OTHER_ONE\" ]; then y; fi";
        assert_eq!(reads(script).0, ["MODE_TO_RUN", "OTHER_ONE"]);
    }

    #[test]
    fn what_it_sets_itself_is_not_read() {
        assert_eq!(
            reads("PORT=1\nexport HOST=x\necho $PORT $HOST $lower\nif [ $PORT ]; then :; fi").0.len(),
            0
        );
        assert_eq!(reads("MODE=${MODE:-pod}\ncase $MODE in esac").0, ["MODE"]);
        assert_eq!(reads("for FILE in a b; do echo $FILE; done"), (vec![], vec![]));
        assert_eq!(reads("echo ${PORT:-80} $PATH $"), (vec![], vec![]));
    }
}
