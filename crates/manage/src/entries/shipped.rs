//! The entries that come with the binary: the examples of this repository, file by file. They are written to a folder
//! where one is deployed, and go the way of an uploaded one.

use std::path::Path;

/// A file: its path in the folder, and its content.
pub(super) type File = (&'static str, &'static [u8]);

macro_rules! folder {
    ($name:literal: $($file:literal),* $(,)?) => {
        ($name, &[$(($file, include_bytes!(concat!("../../../../examples/", $name, "/", $file)).as_slice())),*])
    };
}

/// By name, in the order in which a page shows them. What only tests and training need is left out.
pub(super) const SHIPPED: [(&str, &[File]); 6] = [
    folder!("hello": ".runpod/hub.json", "README.md", "handler.py", "requirements.txt", "test_input.json"),
    folder!(
        "text-to-image": ".runpod/hub.json", "README.md", "handler.py", "model.py", "requirements.txt",
        "test_input.json", "weights.npz",
    ),
    folder!(
        "llm": ".runpod/hub.json", "README.md", "handler.py", "requirements.txt", "runyard.toml",
        "test_input.json", "uv.toml",
    ),
    folder!(
        "embed": ".runpod/hub.json", ".runpod/tests.json", "README.md", "handler.py", "requirements.txt",
        "runyard.toml", "test_input.json",
    ),
    folder!(
        "speak": ".runpod/hub.json", ".runpod/tests.json", "README.md", "handler.py", "requirements.txt",
        "runyard.toml", "test_input.json",
    ),
    folder!(
        "transcribe": ".runpod/hub.json", "README.md", "handler.py", "requirements.txt", "runyard.toml",
        "test_input.json",
    ),
];

/// A file of a shipped folder.
pub(super) fn file(files: &[File], path: &str) -> Option<&'static [u8]> {
    files.iter().find(|(name, _)| *name == path).map(|(_, content)| *content)
}

/// Writes a folder.
pub(super) fn write(files: &[File], folder: &Path) -> std::io::Result<()> {
    for (name, content) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use runyard_build::listing::Listing;

    use super::*;

    /// Of each folder, what is no part of an entry.
    const LEFT_OUT: [&str; 2] = ["expected.json", "train.py"];

    #[test]
    fn every_file_is_in_the_binary_and_all_of_them_are_small() {
        let mut bytes = 0;
        for (name, files) in SHIPPED {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
            for place in ["", ".runpod"] {
                let Ok(entries) = std::fs::read_dir(folder.join(place)) else { continue };
                for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
                    let file = entry.file_name().to_string_lossy().into_owned();
                    let path = if place.is_empty() { file } else { format!("{place}/{file}") };
                    let known = LEFT_OUT.contains(&path.as_str()) || self::file(files, &path).is_some();
                    assert!(known, "{name}/{path}");
                }
            }
            bytes += files.iter().map(|(_, content)| content.len()).sum::<usize>();
        }
        assert!(bytes < 1_500_000, "{bytes}");
    }

    #[test]
    fn their_descriptions_have_no_mistake() {
        for (name, files) in SHIPPED {
            let text =
                std::str::from_utf8(file(files, ".runpod/hub.json").unwrap_or_default()).unwrap_or_default();
            let listing = Listing::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(listing.unknown.is_empty() && !listing.description.is_empty(), "{name}: {listing:?}");
            assert!(listing.env(&std::collections::BTreeMap::new(), None).is_ok(), "{name} needs nothing");
        }
    }
}
