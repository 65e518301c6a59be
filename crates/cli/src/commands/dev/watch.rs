//! What happens while `dev` runs: files that are saved, and what the worker prints.

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
    tokio::spawn(async move {
        let _watcher = watcher;
        while let Some(first) = changes.recv().await {
            let mut burst = vec![first];
            while let Ok(Some(next)) = tokio::time::timeout(QUIET, changes.recv()).await {
                burst.push(next);
            }
            let source = burst.iter().filter_map(|p| p.strip_prefix(&folder).ok()).find(|p| is_source(p));
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
}
