//! The user's own files: where they lie (XDG) and how they are written: whole or not at all, and readable by
//! nobody else.

use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// `$XDG_CONFIG_HOME/runyard`, else `~/.config/runyard`.
pub fn config_dir() -> io::Result<PathBuf> {
    xdg("XDG_CONFIG_HOME", ".config")
}

/// `$XDG_STATE_HOME/runyard`, else `~/.local/state/runyard`.
pub fn state_dir() -> io::Result<PathBuf> {
    xdg("XDG_STATE_HOME", ".local/state")
}

/// As the XDG rules say, a variable that is not an absolute path counts as not set.
fn xdg(variable: &str, fallback: &str) -> io::Result<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = match named {
        Some(base) => base,
        None => std::env::home_dir()
            .filter(|home| home.is_absolute())
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("neither {variable} nor HOME is set"))
            })?
            .join(fallback),
    };
    Ok(base.join("runyard"))
}

/// Replaces the file at `path` with `text`, mode 0600, in one step; makes its folder, mode 0700.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Temporary files of this crate are made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// The file's text; `None` where there is no such file.
pub fn read_optional(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
