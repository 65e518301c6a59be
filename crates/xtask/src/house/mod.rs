//! The house rules: what reviewers would otherwise have to look for. Every breach is told, not only the first.

mod codes;
mod files;
mod layers;
mod links;

use std::path::Path;

use anyhow::bail;

/// Fails where a rule is broken.
pub fn check(root: &Path) -> anyhow::Result<()> {
    let mut breaches = layers::breaches(root)?;
    breaches.extend(files::breaches(root)?);
    breaches.extend(codes::breaches(root)?);
    breaches.extend(links::breaches(root)?);
    if breaches.is_empty() {
        println!("layers: every rule holds");
        return Ok(());
    }
    for breach in &breaches {
        eprintln!("  {breach}");
    }
    bail!("{} broken {}", breaches.len(), if breaches.len() == 1 { "rule" } else { "rules" })
}
