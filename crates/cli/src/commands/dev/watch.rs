//! What happens while `dev` runs: files that are saved, and what the worker prints.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::ENDPOINT;
use crate::client::{Call, Client, path};
use crate::output::{Tone, Ui, text, time};
use crate::views::Record;

/// Editors write a file in several steps: changes this close together are one.
const QUIET: Duration = Duration::from_millis(150);

/// Names the files that are saved below `folder`, one per burst of changes.
pub fn watch(folder: &Path) -> anyhow::Result<mpsc::Receiver<String>> {
    let (changed, mut changes) = mpsc::unbounded_channel::<PathBuf>();
    let (saved, receiver) = mpsc::channel(8);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        if matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_)) {
            for path in event.paths {
                let _ = changed.send(path);
            }
        }
    })?;
    watcher.watch(folder, RecursiveMode::Recursive)?;
    let folder = folder.to_owned();
    let known = files(&folder);
    tokio::spawn(async move {
        let _watcher = watcher;
        while let Some(first) = changes.recv().await {
            let mut burst = vec![first];
            while let Ok(Some(next)) = tokio::time::timeout(QUIET, changes.recv()).await {
                burst.push(next);
            }
            let mut below = burst.iter().filter_map(|p| p.strip_prefix(&folder).ok());
            let source = below.find(|p| is_source(p) && (is_code(p) || known.contains(*p)));
            if let Some(file) = source
                && saved.send(file.display().to_string()).await.is_err()
            {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Whether a change of this file changes what runs: no caches, no editor's temporary files, no hidden folders.
fn is_source(path: &Path) -> bool {
    let hidden = |part: &str| part.starts_with('.') && part != ".runpod";
    let skipped = ["__pycache__", "node_modules", "venv"];
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let name = parts.last().copied().unwrap_or_default();
    !parts.iter().any(|part| hidden(part) || skipped.contains(part))
        && !matches!(path.extension().and_then(|e| e.to_str()), Some("swp" | "pyc" | "log"))
        && !name.ends_with('~')
        && name != "4913"
}

/// Whether a file that is new is one of the project's: handlers write results beside their code, and a worker
/// that its own results restart would never come to rest.
fn is_code(path: &Path) -> bool {
    const CODE: [&str; 9] = ["py", "pyi", "toml", "lock", "yaml", "yml", "cfg", "ini", "sh"];
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.extension().and_then(|end| end.to_str()).is_some_and(|end| CODE.contains(&end))
        || name.starts_with("requirements")
        || path.starts_with(".runpod")
}

/// The sources that are there, so that those count whatever their names; no more than make sense.
fn files(folder: &Path) -> HashSet<PathBuf> {
    const MOST: usize = 20_000;
    let mut found = HashSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten().take(MOST) {
            let path = entry.path();
            let Ok(below) = path.strip_prefix(folder) else { continue };
            match entry.file_type() {
                _ if !is_source(below) || found.len() >= MOST => {}
                Ok(kind) if kind.is_dir() => folders.push(path),
                _ => {
                    found.insert(below.to_owned());
                }
            }
        }
    }
    found
}

/// Prints what the worker prints, until it is aborted.
pub async fn print_logs(client: Client, ui: Ui) {
    let follow = [
        ("endpoint", Some(ENDPOINT.to_owned())),
        ("follow", Some("true".to_owned())),
        ("since", Some(time::now_ms().to_string())),
    ];
    let call = Call::new(Method::GET, path::query(&path::api(&["logs"]), &follow));
    let Ok(mut lines) = client.lines(call).await else { return };
    while let Ok(Some(line)) = lines.next().await {
        let Ok(record) = serde_json::from_str::<Record>(&line) else { continue };
        let tone = match record.level.as_deref() {
            Some("error") => Tone::Bad,
            Some("warn") => Tone::Warn,
            _ => Tone::Dim,
        };
        ui.note(&format!("  {}", ui.err.tone(&text::clean(&record.said()), tone)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_restart_the_worker() {
        for yes in ["handler.py", "src/model.py", "requirements.txt", ".runpod/tests.json"] {
            assert!(is_source(Path::new(yes)), "{yes}");
        }
        for no in ["__pycache__/a.pyc", ".git/index", "handler.py~", ".handler.py.swp", "venv/x.py"] {
            assert!(!is_source(Path::new(no)), "{no}");
        }
    }

    #[test]
    fn results_of_the_worker_do_not_restart_it() -> std::io::Result<()> {
        for yes in ["new.py", "src/model.yaml", "requirements-dev.txt", ".runpod/tests.json"] {
            assert!(is_code(Path::new(yes)), "{yes}");
        }
        for no in ["out.txt", "results/image.png", "answer.json"] {
            assert!(!is_code(Path::new(no)), "{no}");
        }
        let dir = tempfile::tempdir()?;
        std::fs::create_dir_all(dir.path().join("prompts/__pycache__"))?;
        for file in ["prompts/system.txt", "prompts/__pycache__/x.pyc"] {
            std::fs::write(dir.path().join(file), "")?;
        }
        assert_eq!(files(dir.path()), HashSet::from([PathBuf::from("prompts/system.txt")]));
        Ok(())
    }
}
