//! A folder as the bundle that the server takes: a gzip-compressed tar, named by the SHA-256 of its bytes.

use std::path::Path;

use bytes::Bytes;

/// A packed folder.
pub struct Packed {
    /// The archive, cheap to clone.
    pub bytes: Bytes,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// How many files are in it.
    pub files: usize,
}

/// Packs a folder, leaving out what its ignore files name, or a handler's file with what belongs to it. Blocks.
pub fn pack_folder(source: &Path) -> anyhow::Result<Packed> {
    let bundle = runyard_build::pack(source)?;
    Ok(Packed { bytes: bundle.bytes.into(), sha256: bundle.sha256, files: bundle.files })
}

/// Packs a build context, leaving out what `.dockerignore` names. Blocks.
pub fn pack_context(folder: &Path, dockerfile: &str) -> anyhow::Result<Packed> {
    let bundle = runyard_build::pack_context(folder, dockerfile)?;
    Ok(Packed { bytes: bundle.bytes.into(), sha256: bundle.sha256, files: bundle.files })
}
