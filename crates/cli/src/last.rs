//! The data directory used last, in `$XDG_STATE_HOME/runyard/last.json`: a server notes it when it starts, so
//! that `runyard jobs` finds what `runyard dev` left behind, also when no server runs any more.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::files;

/// The note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUsed {
    /// The data directory, absolute.
    pub data: PathBuf,
    /// Where its server listened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl LastUsed {
    /// Reads the note. One that is missing or unreadable is none: it is a convenience, not a fact.
    pub fn load() -> Option<Self> {
        let path = files::state_dir().ok()?.join("last.json");
        serde_json::from_str(&files::read_optional(&path).ok()??).ok()
    }

    /// Writes the note.
    pub fn save(&self) -> std::io::Result<()> {
        let path = files::state_dir()?.join("last.json");
        files::write_private(&path, &serde_json::to_string(self).map_err(std::io::Error::from)?)
    }
}
