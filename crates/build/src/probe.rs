//! Doors to the parsers of outside bytes, for the fuzz targets (`crates/fuzz`). No part of the interface.

use std::path::Path;

use crate::environment::{python, requirements};
use crate::source::names;

/// The packages that a folder's requirements name; else the words of the error.
pub fn listed(dir: &Path) -> Result<Vec<String>, String> {
    let found = requirements::find(dir, Path::new("handler.py"));
    found.map(|(_, listed)| listed.names.into_iter().collect()).map_err(|error| error.to_string())
}

/// Whether a Python version fits a specifier.
pub fn fits(specifier: &str, version: &str) -> bool {
    python::fits(specifier, version)
}

/// The lines of a Python source on which `function` is called.
pub fn calls(text: &str, function: &str) -> Vec<u32> {
    names::calls(text, function)
}
