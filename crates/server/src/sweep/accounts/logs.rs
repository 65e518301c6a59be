//! Logs of workers and of builds. A worker's log is several files, of which the older ones are packed and change no more:
//! they go by their age, and by what the logs of their endpoint take together, also while the worker runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use runyard_domain::{EndpointId, WorkerId};

use crate::sweep::account::{Account, Fate, Look, Thing, YOUNG};
use crate::sweep::files::{self, entries, name};

/// The folder of logs.
pub(super) struct Logs {
    pub(super) dir: PathBuf,
    /// How long they stay, in days; 0: as long as their endpoint is there.
    pub(super) days: u64,
    /// How much stays of each endpoint, in bytes; 0: all.
    pub(super) most: u64,
}

/// A file of an endpoint's folder.
struct File {
    path: PathBuf,
    /// The worker or the build that it is of.
    of: String,
    /// Whether it is packed, and so changes only at its end.
    is_packed: bool,
    bytes: u64,
    changed: SystemTime,
}

impl Account for Logs {
    fn kind(&self) -> &'static str {
        "logs"
    }

    fn things(&self, look: &Look<'_>) -> Vec<Thing> {
        let mut things = Vec::new();
        for folder in entries(&self.dir) {
            let endpoint = EndpointId::new(name(&folder));
            let label = look.known.names.get(&endpoint).cloned().unwrap_or_else(|| name(&folder));
            let mut files: Vec<File> =
                entries(&folder.path()).filter_map(|entry| file(&entry.path())).collect();
            // The newest first: what they take together is full somewhere among the older ones.
            files.sort_by(|a, b| b.changed.cmp(&a.changed).then_with(|| b.path.cmp(&a.path)));
            let gauge = self.gauge(files.iter().map(|file| file.bytes).sum());
            let mut taken = 0;
            for file in files {
                taken += file.bytes;
                let fate = match self.fate(look, &endpoint, &file, taken) {
                    Fate::Goes(_) if !self.is_over(taken) && !look.is_older(&file.path, YOUNG) => {
                        Fate::Stays("it is new".to_owned())
                    }
                    Fate::Stays(why) => Fate::Stays(format!("{why}{gauge}")),
                    fate @ Fate::Goes(_) => fate,
                };
                let bytes = Some(file.bytes);
                things.push(Thing { name: format!("{label}/{}", file.of), path: file.path, bytes, fate });
            }
            if !look.known.endpoints.contains_key(&endpoint) && look.is_older(&folder.path(), YOUNG) {
                things.push(Thing::goes(folder.path(), "its endpoint is gone"));
            }
        }
        things
    }

    fn remove(&self, thing: &Thing) -> std::io::Result<bool> {
        if thing.path.is_dir() {
            // Only when it is empty.
            return Ok(fs::remove_dir(&thing.path).is_ok());
        }
        fs::remove_file(&thing.path).map(|()| true)
    }

    fn size(&self, thing: &Thing) -> u64 {
        // A folder's files are things of their own.
        if thing.path.is_dir() { 0 } else { thing.bytes.unwrap_or(0) }
    }
}

impl Logs {
    fn is_over(&self, taken: u64) -> bool {
        self.most > 0 && taken > self.most
    }

    /// How much of what they may take the logs of an endpoint take.
    fn gauge(&self, bytes: u64) -> String {
        match bytes.saturating_mul(100).checked_div(self.most) {
            Some(percent) => format!("; its endpoint's logs take {percent} % of {} MiB", self.most >> 20),
            None => String::new(),
        }
    }

    /// What becomes of a file; `taken` is what it takes together with all that are newer.
    fn fate(&self, look: &Look<'_>, endpoint: &EndpointId, file: &File, taken: u64) -> Fate {
        let Some(releases) = look.known.endpoints.get(endpoint) else {
            return Fate::Goes("its endpoint is gone");
        };
        if let Some(number) = file.of.strip_prefix("build-").and_then(|number| number.parse().ok()) {
            let stays = || Fate::Stays("its release is known".to_owned());
            return if releases.contains(&number) { stays() } else { Fate::Goes("its release is gone") };
        }
        let worker = WorkerId::new(file.of.as_str());
        let runs = look.known.observed.contains(&worker) || look.known.workers.get(&worker) == Some(&None);
        if runs && !file.is_packed {
            return Fate::Stays("its worker runs".to_owned());
        }
        if self.is_over(taken) {
            return Fate::Goes("its endpoint's logs take more than logs_mib allows");
        }
        let Some((kept, gone)) = self.kept(look, endpoint) else { return Fate::Stays("kept".to_owned()) };
        if look.is_past(file.changed, kept) {
            Fate::Goes(gone)
        } else {
            Fate::Stays(format!("kept for {}", words(kept)))
        }
    }

    /// How long an endpoint's logs stay, and why they go then: what it says itself, else what the server says.
    fn kept(&self, look: &Look<'_>, endpoint: &EndpointId) -> Option<(Duration, &'static str)> {
        if let Some(own) = look.known.logs.get(endpoint) {
            return Some((*own, "it is older than its endpoint's log_retention_ms"));
        }
        (self.days > 0).then(|| (Duration::from_hours(self.days * 24), "it is older than logs_days"))
    }
}

/// A file of a log; none for what is no log.
fn file(path: &Path) -> Option<File> {
    let file_name = path.file_name()?.to_str()?;
    let (of, rest) = file_name.split_once('.')?;
    let kind = rest.rsplit('.').next()?;
    if !["jsonl", "part", "seg"].contains(&kind) {
        return None;
    }
    let is_packed = kind == "seg";
    let changed = path.symlink_metadata().and_then(|meta| meta.modified()).ok()?;
    Some(File { path: path.to_owned(), of: of.to_owned(), is_packed, bytes: files::size(path), changed })
}

/// `14 days`, `36 hours`.
fn words(kept: Duration) -> String {
    let hours = kept.as_secs() / 3600;
    match (hours / 24, hours % 24) {
        (1, 0) => "a day".to_owned(),
        (days, 0) if days > 0 => format!("{days} days"),
        _ if hours == 1 => "an hour".to_owned(),
        _ => format!("{hours} hours"),
    }
}
