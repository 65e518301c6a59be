//! An archive on its way in: kept in a file without a name, which is gone with its handle, and hashed as it comes.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// The archive as far as it came.
#[derive(Debug)]
pub struct Arriving {
    file: File,
    hash: Sha256,
    len: u64,
}

impl Arriving {
    /// An empty one, on the disk of `folder`.
    pub fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(folder)?, hash: Sha256::new(), len: 0 })
    }

    /// Its bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing came yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the next piece.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.hash.update(piece);
        self.len += piece.len() as u64;
        Ok(())
    }

    /// Its SHA-256 in hex, and the file, to be read from its start.
    pub fn finish(mut self) -> io::Result<(String, File)> {
        self.file.rewind()?;
        Ok((super::hex(&self.hash.finalize()), self.file))
    }
}
