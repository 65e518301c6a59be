//! `docs/capabilities.md`, as the binary makes it of its own commands and operations.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

const PAGE: &str = "docs/capabilities.md";

/// Writes the page anew.
pub fn write(root: &Path) -> anyhow::Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--package", "runyard-cli", "--", "openapi", "--capabilities"]);
    let made = cargo.current_dir(root).output().context("cannot run cargo")?;
    if !made.status.success() {
        bail!("the page could not be made:\n{}", String::from_utf8_lossy(&made.stderr));
    }
    fs::write(root.join(PAGE), made.stdout).with_context(|| format!("cannot write {PAGE}"))?;
    println!("{PAGE} is written");
    Ok(())
}
