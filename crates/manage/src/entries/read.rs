//! Where entries come from: the binary, and folders that the configuration names (`catalogue`). A folder with a
//! `hub.json` is an entry, one of such folders is as many. An own entry stands in for a shipped one of its name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runyard_build::listing::{self, Listing};
use runyard_domain::endpoint::is_valid_name;

use super::shipped::{self, File, SHIPPED};

/// The most entries of all folders together.
const MOST: usize = 500;

/// The longest README that is shown, in bytes.
const LONGEST_README: usize = 64 << 10;

/// Where the files of an entry are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Shipped(&'static [File]),
    Folder(PathBuf),
}

/// An entry of the catalogue.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) place: Place,
    /// What it says of itself, or what is wrong with that.
    pub(super) listing: Result<Listing, String>,
}

impl Entry {
    /// A text that lies beside it.
    fn text(&self, file: &str) -> Option<String> {
        let bytes = match &self.place {
            Place::Shipped(files) => shipped::file(files, file)?.to_vec(),
            Place::Folder(folder) => {
                let path = folder.join(file);
                let meta = path.symlink_metadata().ok()?;
                if !meta.is_file() || meta.len() > (1 << 20) {
                    return None;
                }
                std::fs::read(path).ok()?
            }
        };
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Its README, as far as it is shown.
    pub(super) fn readme(&self) -> Option<String> {
        let mut text = self.text("README.md")?;
        let end = (0..=LONGEST_README.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        Some(text)
    }

    /// Whether its workers are containers that are built of its Dockerfile.
    pub(super) fn has_dockerfile(&self) -> bool {
        match &self.place {
            Place::Shipped(files) => shipped::file(files, "Dockerfile").is_some(),
            Place::Folder(folder) => folder.join("Dockerfile").is_file(),
        }
    }

    /// Where it comes from, for people.
    pub(super) fn source(&self) -> String {
        match &self.place {
            Place::Shipped(_) => "shipped".to_owned(),
            Place::Folder(folder) => folder.display().to_string(),
        }
    }
}

/// Every entry, the shipped ones first. Blocks.
pub(super) fn all(folders: &[PathBuf]) -> Vec<Entry> {
    let mut own: BTreeMap<String, Entry> = BTreeMap::new();
    for folder in folders {
        for entry in of_folder(folder) {
            if own.len() < MOST {
                own.entry(entry.name.clone()).or_insert(entry);
            }
        }
    }
    let shipped = SHIPPED.into_iter().map(|(name, files)| {
        own.remove(name).unwrap_or_else(|| Entry {
            name: name.to_owned(),
            place: Place::Shipped(files),
            listing: of_text(shipped::file(files, listing::PLACES[0]).unwrap_or_default()),
        })
    });
    let shipped: Vec<Entry> = shipped.collect();
    shipped.into_iter().chain(own.into_values()).collect()
}

fn of_text(bytes: &[u8]) -> Result<Listing, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("{}: {error}", listing::PLACES[0]))?;
    Listing::parse(text).map_err(|error| format!("{}: {error}", listing::PLACES[0]))
}

fn of_folder(folder: &Path) -> Vec<Entry> {
    if let Some(entry) = one(folder) {
        return vec![entry];
    }
    let Ok(inside) = std::fs::read_dir(folder) else {
        tracing::warn!(folder = %folder.display(), "a folder of the catalogue cannot be read");
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = inside.flatten().take(10 * MOST).map(|entry| entry.path()).collect();
    folders.sort();
    folders.iter().filter_map(|folder| one(folder)).collect()
}

/// The entry of a folder that has a description. Where its name is none that an endpoint could have, it has none.
fn one(folder: &Path) -> Option<Entry> {
    let name = folder.file_name()?.to_string_lossy().to_lowercase();
    let listing = match listing::text_of(folder) {
        Ok(None) => return None,
        Ok(Some((place, text))) => {
            Listing::parse(&text).map_err(|error| format!("{}: {error}", folder.join(place).display()))
        }
        Err(error) => Err(format!("{}: {error}", folder.join(listing::PLACES[0]).display())),
    };
    if !is_valid_name(&name) {
        tracing::warn!(folder = %folder.display(), "a folder of the catalogue has a name that no entry has");
        return None;
    }
    Some(Entry { name, place: Place::Folder(folder.to_owned()), listing })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    fn write(folder: &Path, hub: &str) {
        std::fs::create_dir_all(folder.join(".runpod")).unwrap();
        std::fs::write(folder.join(".runpod/hub.json"), hub).unwrap();
    }

    #[test]
    fn own_entries_stand_beside_the_shipped_ones_and_in_for_them() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("hello"), r#"{"title": "Our hello"}"#);
        write(&dir.path().join("Sdxl"), r#"{"title": "SDXL", "config": {"env": 1}}"#);
        std::fs::create_dir(dir.path().join("no-entry")).unwrap();
        std::fs::write(dir.path().join("hello/README.md"), "# Ours").unwrap();
        let found = all(&[dir.path().to_owned(), dir.path().join("missing")]);
        assert_eq!(found.len(), SHIPPED.len() + 1);
        assert_eq!(found[0].listing.as_ref().unwrap().title, "Our hello");
        assert_eq!(found[0].readme().unwrap(), "# Ours");
        let last = found.last().unwrap();
        assert_eq!(last.name, "sdxl");
        let wrong = last.listing.as_ref().unwrap_err();
        assert!(
            wrong.contains(".runpod/hub.json") && wrong.contains("'config.env' must be a list"),
            "{wrong}"
        );
    }
}
