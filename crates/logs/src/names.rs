//! What the files of an endpoint's log folder are called. Each worker and each build has a *stem*, and its records lie
//! in up to three kinds of files: `STEM.jsonl`, which is being written; `STEM.FIRST.part`, which is full and waits to be
//! packed; `STEM.FIRST.seg`, packed blocks. `FIRST` is the number of the first record inside.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use runyard_domain::id;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is being written.
    Live,
    /// It is full and waits to be packed.
    Part(u64),
    /// It is packed.
    Segment(u64),
}

impl Kind {
    /// The name of a file of this kind.
    pub(crate) fn name(self, stem: &str) -> String {
        match self {
            Self::Live => format!("{stem}.jsonl"),
            Self::Part(first) => format!("{stem}.{first:012}.part"),
            Self::Segment(first) => format!("{stem}.{first:012}.seg"),
        }
    }

    /// The stem and the kind that a file's name tells; none for files that are not ours.
    pub(crate) fn parse(name: &str) -> Option<(&str, Self)> {
        let (stem, rest) = name.split_once('.')?;
        let kind = match rest.split_once('.') {
            None if rest == "jsonl" => Self::Live,
            Some((first, "part")) => Self::Part(number(first)?),
            Some((first, "seg")) => Self::Segment(number(first)?),
            _ => return None,
        };
        id::is_well_formed(stem).then_some((stem, kind))
    }
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The files of one stem, by the numbers of their first records.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// Whether one is being written.
    pub(crate) live: bool,
    /// Those that wait to be packed, rising.
    pub(crate) parts: Vec<u64>,
    /// Packed ones, rising.
    pub(crate) segments: Vec<u64>,
}

/// All stems of a folder; none where it is not there.
pub(crate) fn list(dir: &Path) -> io::Result<BTreeMap<String, Files>> {
    let mut stems: BTreeMap<String, Files> = BTreeMap::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(stems),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some((stem, kind)) = name.to_str().and_then(Kind::parse) else { continue };
        let files = stems.entry(stem.to_owned()).or_default();
        match kind {
            Kind::Live => files.live = true,
            Kind::Part(first) => files.parts.push(first),
            Kind::Segment(first) => files.segments.push(first),
        }
    }
    for files in stems.values_mut() {
        files.parts.sort_unstable();
        files.segments.sort_unstable();
    }
    Ok(stems)
}

/// The files of one stem.
pub(crate) fn of_stem(dir: &Path, stem: &str) -> io::Result<Files> {
    Ok(list(dir)?.remove(stem).unwrap_or_default())
}

/// The path of a file.
pub(crate) fn path(dir: &Path, stem: &str, kind: Kind) -> PathBuf {
    dir.join(kind.name(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_stem_and_kind() {
        for kind in [Kind::Live, Kind::Part(1), Kind::Segment(12_345_678_901_234)] {
            assert_eq!(Kind::parse(&kind.name("w-1")), Some(("w-1", kind)));
        }
        for other in ["w", "w.json", "w.x.part", ".jsonl", "w.1.seg.tmp", "w.-1.seg", "w..seg", "w.1.jsonl"] {
            assert_eq!(Kind::parse(other), None, "{other}");
        }
    }
}
