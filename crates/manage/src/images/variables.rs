//! Which environment variables an image's command reads, from the scripts that it runs: an image with two lives
//! chooses one by a variable, and who forgets it shall hear its name.

use runyard_build::{env_read, source};
use runyard_domain::image::Facts;
use runyard_runtime::docker::{Engine, Found, Labels, Peek};

/// How many files are read: a start script and what it starts.
const MOST_FILES: usize = 6;

/// How many variables are worth telling.
const MOST_NAMES: usize = 12;

/// The names, those that a start script branches on first.
pub(super) async fn of(engine: &Engine, labels: &Labels, found: &Found, command: &[String]) -> Vec<String> {
    let Ok(peek) = engine.open_peek(&found.id, labels).await else { return Vec::new() };
    let names = read(engine, &peek, &found.facts, command).await;
    engine.close_peek(peek).await;
    names
}

async fn read(engine: &Engine, peek: &Peek, facts: &Facts, command: &[String]) -> Vec<String> {
    let folder = if facts.folder.is_empty() { "/" } else { &facts.folder };
    let mut left: Vec<Vec<String>> = command.iter().flat_map(|word| files_in(word, &[folder])).collect();
    let (mut names, mut others) = (Vec::new(), Vec::new());
    let mut seen = Vec::new();
    while let Some(places) = left.pop() {
        if seen.len() == MOST_FILES || places.iter().any(|place| seen.contains(place)) {
            continue;
        }
        let Some((path, text)) = first_of(engine, peek, &places).await else { continue };
        if is_script(&path, &text) {
            let reads = source::shell_env(&text);
            names.extend(reads.branches);
            others.extend(reads.others);
            let own = path.rsplit_once('/').map_or("/", |(dir, _)| dir);
            left.extend(text.split_whitespace().flat_map(|word| files_in(word, &[folder, own])));
        } else {
            others.extend(env_read(&text));
        }
        seen.push(path);
    }
    // What the image sets is given; unless a script branches on it: what the image says may be the other life.
    others.retain(|name| facts.env(name).is_none_or(str::is_empty));
    names.extend(others);
    let mut once = Vec::new();
    for name in names {
        if once.len() < MOST_NAMES && !once.contains(&name) {
            once.push(name);
        }
    }
    once
}

async fn first_of(engine: &Engine, peek: &Peek, places: &[String]) -> Option<(String, String)> {
    for place in places {
        if let Some(text) = engine.peek(peek, place).await {
            return Some((place.clone(), text));
        }
    }
    None
}

/// Where the files may be that the words of a command name.
fn files_in(command: &str, folders: &[&str]) -> Vec<Vec<String>> {
    let bare = |word: &str| {
        word.trim_matches(['"', '\'', ';', '&', '|', '(', ')']).trim_start_matches("./").to_owned()
    };
    let words = command.split_whitespace().map(bare);
    let files = words.filter(|word| is_file_name(word));
    files
        .map(|word| {
            if word.starts_with('/') {
                return vec![word];
            }
            folders.iter().map(|folder| format!("{}/{word}", folder.trim_end_matches('/'))).collect()
        })
        .collect()
}

/// A script by its ending, or a program outside of the folders of a system's own.
fn is_file_name(word: &str) -> bool {
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
    let script = [".sh", ".bash", ".py"].iter().any(|end| word.ends_with(end));
    let system = ["/bin/", "/sbin/", "/usr/", "/opt/", "/dev/", "/proc/", "/etc/", "/lib"];
    let own = word.starts_with('/') && word.len() > 1 && !system.iter().any(|dir| word.starts_with(dir));
    plain && (script || own)
}

/// Whether a file is for a shell.
fn is_script(path: &str, text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let shell = first.starts_with("#!") && first.contains("sh");
    shell || [".sh", ".bash"].iter().any(|end| path.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_files() {
        let all = |command: &str| files_in(command, &["/app"]).into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(all("bash /start.sh"), ["/start.sh"]);
        assert_eq!(all("python -u handler.py"), ["/app/handler.py"]);
        assert_eq!(all("/entrypoint"), ["/entrypoint"]);
        assert_eq!(all("exec python3 \"./src/x.py\";"), ["/app/src/x.py"]);
        assert!(all("/usr/bin/python3 -m x /dev/null --port=1 $X").is_empty());
    }
}
