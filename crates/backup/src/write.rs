//! The archive of what was put together, as a stream: manifest, files, checksums.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::{BackupError, Staging, names};

/// Hears how many bytes are done.
pub type Progress<'a> = &'a mut dyn FnMut(u64);

/// Writes the archive. Blocks its thread. On an error the archive lacks its end, by which everybody knows that it is
/// not whole.
pub fn write(staging: &Staging, to: impl Write, progress: Progress<'_>) -> Result<(), BackupError> {
    let mut archive = tar::Builder::new(to);
    let manifest = staging.manifest();
    let text = serde_json::to_vec(manifest).unwrap_or_default();
    let mut sums = BTreeMap::from([(names::MANIFEST.to_owned(), hex(&Sha256::digest(&text)))]);
    append(&mut archive, names::MANIFEST, text.len() as u64, false, manifest.created_at, &text[..])?;
    let mut done = 0;
    for file in &manifest.files {
        let path = staging.dir().join(&file.name);
        let opened = File::open(&path).map_err(BackupError::file("read", &path))?;
        // A log may have grown since it was listed.
        let mut content = Hashing { inner: opened.take(file.size), hash: Sha256::new(), read: 0 };
        append(&mut archive, &file.name, file.size, file.exec, manifest.created_at, &mut content)?;
        if content.read != file.size {
            let short = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(BackupError::file("read all of", &path)(short));
        }
        sums.insert(file.name.clone(), hex(&content.hash.finalize()));
        done += file.size;
        progress(done);
    }
    let text = serde_json::to_vec(&sums).unwrap_or_default();
    append(&mut archive, names::CHECKSUMS, text.len() as u64, false, manifest.created_at, &text[..])?;
    let mut to = archive.into_inner().map_err(BackupError::Write)?;
    to.flush().map_err(BackupError::Write)
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    size: u64,
    exec: bool,
    created_at: i64,
    content: impl Read,
) -> Result<(), BackupError> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(if exec { 0o700 } else { 0o600 });
    header.set_mtime((created_at / 1_000).unsigned_abs());
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, content).map_err(BackupError::Write)
}

/// What is read, hashed on its way.
pub(crate) struct Hashing<R> {
    pub(crate) inner: R,
    pub(crate) hash: Sha256,
    pub(crate) read: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.read += read as u64;
        Ok(read)
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
