//! A copy of the code for what is built from it. Building a folder writes into it (`build/`, `*.egg-info`), and
//! an editable package points back to it, while the code itself is read-only and shared; so both get a copy
//! inside the environment.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::EnvPlan;
use crate::walk::walker;

/// The copy's name in the environment.
const COPY: &str = "code";

/// Larger files are linked: they are weights, not sources.
const LARGEST: u64 = 32 << 20;

/// Where the requirements of a plan are installed from: its code, or a copy in the environment `dir`, made now.
pub fn provide(plan: &EnvPlan, dir: &Path) -> io::Result<PathBuf> {
    if !plan.folders {
        return Ok(plan.code_dir.clone());
    }
    let copy = dir.join(COPY);
    fs::create_dir(&copy)?;
    for entry in walker(&plan.code_dir).build() {
        let entry = entry.map_err(io::Error::other)?;
        let Ok(relative) = entry.path().strip_prefix(&plan.code_dir) else { continue };
        let (from, to) = (entry.path(), copy.join(relative));
        let Some(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            fs::create_dir_all(&to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(from)?, &to)?;
        } else if kind.is_file() && entry.metadata().is_ok_and(|meta| meta.len() <= LARGEST) {
            fs::copy(from, &to)?;
        } else if kind.is_file() {
            symlink(from, &to)?;
        }
    }
    Ok(copy)
}

/// Removes the copy where nothing points back to it.
pub fn clear(plan: &EnvPlan, dir: &Path) -> io::Result<()> {
    if plan.folders && !plan.editable {
        fs::remove_dir_all(dir.join(COPY))?;
    }
    Ok(())
}
