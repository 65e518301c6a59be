//! Unpacking an archive that anybody may have made: bounded in every way, refusing whatever is not a plain
//! file or folder under a plain relative path, and visible only when complete.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::read::GzDecoder;
use tar::EntryType;

use super::pack::too_long;
use super::{BundleError, Limits};

/// The most bytes of one tar header extension (a long name).
const MOST_EXTENSION: u64 = 64 * 1024;

/// Above so many files the whole file system is synced at once instead of each of them.
const SYNCED_ALONE: usize = 256;

/// What unpacking did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// How many files there are; 0 where the folder was there before.
    pub files: usize,
    /// Bytes of the files together; 0 where the folder was there before.
    pub size: u64,
    /// Whether the folder was there before, and nothing was done.
    pub existed: bool,
}

/// Unpacks an archive into the folder `dest`, which appears complete and synced or not at all. A folder that is
/// there already is left as it is: folders of bundles are named by their digests.
///
/// Files get the mode 0644 or 0755, folders 0755. The parent of `dest` must exist.
pub fn unpack(archive: impl Read, dest: &Path, limits: &Limits) -> Result<Unpacked, BundleError> {
    if dest.is_dir() {
        return Ok(Unpacked { files: 0, size: 0, existed: true });
    }
    let written = |path: &Path| {
        let path = path.to_path_buf();
        move |source| BundleError::Write { path, source }
    };
    let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary =
        tempfile::Builder::new().prefix(".unpacking-").tempdir_in(parent).map_err(written(parent))?;

    let mut unpacking = Unpacking {
        root: temporary.path().to_path_buf(),
        limits: *limits,
        seen: HashSet::new(),
        folders: HashSet::new(),
        written: Vec::new(),
        files: 0,
        size: 0,
    };
    unpacking.run(archive)?;
    fs::set_permissions(temporary.path(), Permissions::from_mode(0o755)).map_err(written(dest))?;
    if unpacking.seen.len() > SYNCED_ALONE {
        let synced = fs::File::open(temporary.path()).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
        synced.map_err(written(dest))?;
    } else {
        for path in unpacking.folders.iter().chain(&unpacking.written) {
            sync(path).map_err(written(path))?;
        }
        sync(temporary.path()).map_err(written(dest))?;
    }

    match fs::rename(temporary.path(), dest) {
        Ok(()) => {
            // It has another name now; there is nothing left to remove.
            let _ = temporary.keep();
            sync(parent).map_err(written(parent))?;
            Ok(Unpacked { files: unpacking.files, size: unpacking.size, existed: false })
        }
        // Somebody else was faster with the same bundle.
        Err(_) if dest.is_dir() => Ok(Unpacked { files: 0, size: 0, existed: true }),
        Err(source) => Err(BundleError::Write { path: dest.to_path_buf(), source }),
    }
}

fn sync(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

struct Unpacking {
    root: PathBuf,
    limits: Limits,
    seen: HashSet<String>,
    folders: HashSet<PathBuf>,
    /// The first files, at most [`SYNCED_ALONE`] and one.
    written: Vec<PathBuf>,
    files: usize,
    size: u64,
}

impl Unpacking {
    fn run(&mut self, archive: impl Read) -> Result<(), BundleError> {
        let packed = Rc::new(Cell::new(0));
        let counted = Counted { inner: archive, read: Rc::clone(&packed), limit: self.limits.packed };
        let unpacked = Rc::new(Cell::new(0));
        // Headers and padding are unpacked bytes, too: at most two kilobytes an entry, and long names.
        let overhead = (self.limits.files as u64 + 2) * (2048 + MOST_EXTENSION);
        let limit = self.limits.unpacked.saturating_add(overhead);
        let stream = Counted { inner: GzDecoder::new(counted), read: Rc::clone(&unpacked), limit };

        let result = self.entries(stream, &packed, &unpacked);
        // A limit shows as a failed read; its name is better than that.
        if packed.get() > self.limits.packed {
            return Err(BundleError::Packed { limit: self.limits.packed });
        }
        if unpacked.get() > limit {
            return Err(BundleError::Unpacked { limit: self.limits.unpacked });
        }
        result
    }

    fn entries(
        &mut self,
        stream: impl Read,
        packed: &Cell<u64>,
        unpacked: &Cell<u64>,
    ) -> Result<(), BundleError> {
        let mut archive = tar::Archive::new(stream);
        let mut long_name = None;
        // Raw, because the convenient way reads long names of any length into memory.
        for entry in archive.entries().map_err(BundleError::Damaged)?.raw(true) {
            let mut entry = entry.map_err(BundleError::Damaged)?;
            self.limits.allow(unpacked.get(), packed.get())?;
            let kind = entry.header().entry_type();
            match kind {
                EntryType::GNULongName => long_name = Some(extension(&mut entry)?),
                EntryType::XHeader => long_name = pax_path(&extension(&mut entry)?)?.or(long_name),
                // Remarks on the whole archive, as `git archive` writes them.
                EntryType::XGlobalHeader => {
                    extension(&mut entry)?;
                }
                _ => {
                    let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
                    let name = self.checked(&name)?;
                    match kind {
                        EntryType::Directory => self.folder(&name)?,
                        EntryType::Regular | EntryType::Continuous => {
                            let executable =
                                entry.header().mode().map_err(BundleError::Damaged)? & 0o111 != 0;
                            self.file(&name, executable, &mut entry, packed)?;
                        }
                        EntryType::Link | EntryType::Symlink | EntryType::GNULongLink => {
                            return Err(refused(&name, "is a link"));
                        }
                        EntryType::Char | EntryType::Block | EntryType::Fifo => {
                            return Err(refused(&name, "is a device or a pipe"));
                        }
                        _ => return Err(refused(&name, "is of a kind that bundles do not have")),
                    }
                }
            }
        }
        // What follows the last entry is read, so that the checksum at the end of the gzip stream is checked.
        let mut rest = archive.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(BundleError::Damaged)?;
        Ok(())
    }

    /// The path of an entry as clean relative path.
    fn checked(&mut self, name: &[u8]) -> Result<String, BundleError> {
        let shown = String::from_utf8_lossy(name).into_owned();
        if name.len() > self.limits.path {
            return Err(too_long(&shown, &self.limits));
        }
        let Ok(name) = std::str::from_utf8(name) else { return Err(refused(&shown, "is not UTF-8")) };
        if name.contains('\0') {
            return Err(refused(name, "has a zero byte in its name"));
        }
        if name.starts_with('/') {
            return Err(refused(name, "has an absolute path"));
        }
        let mut parts = Vec::new();
        for part in name.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(refused(name, "leads out of the folder")),
                part if part.len() > 255 => return Err(refused(name, "has a name longer than 255 bytes")),
                part => parts.push(part),
            }
        }
        if self.seen.len() >= self.limits.files {
            return Err(BundleError::Files { limit: self.limits.files });
        }
        let clean = parts.join("/");
        // The folder itself, as `tar c .` writes it.
        if clean.is_empty() && name.ends_with(['.', '/']) {
            return Ok(clean);
        }
        if clean.is_empty() {
            return Err(refused(name, "has no name"));
        }
        if !self.seen.insert(clean.clone()) {
            return Err(refused(name, "is there twice"));
        }
        Ok(clean)
    }

    /// Makes a folder with those above it, each readable by all.
    fn folder(&mut self, name: &str) -> Result<(), BundleError> {
        let mut path = self.root.clone();
        for part in name.split('/').filter(|part| !part.is_empty()) {
            path.push(part);
            if self.folders.contains(&path) {
                continue;
            }
            let failed = |source| BundleError::Write { path: path.clone(), source };
            match fs::create_dir(&path) {
                Ok(()) => fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(failed)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(refused(name, "is a file and a folder"));
                }
                Err(error) => return Err(failed(error)),
            }
            self.folders.insert(path.clone());
            if self.folders.len() > self.limits.files {
                return Err(BundleError::Files { limit: self.limits.files });
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        name: &str,
        executable: bool,
        entry: &mut (impl Read + Sized),
        packed: &Cell<u64>,
    ) -> Result<(), BundleError> {
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.folder(folder)?;
        }
        let path = self.root.join(name);
        let failed = |source| BundleError::Write { path: path.clone(), source };
        let mode = if executable { 0o755 } else { 0o644 };
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(refused(name, "is there twice"));
            }
            Err(error) => return Err(failed(error)),
        };
        let mut piece = vec![0; 64 * 1024];
        loop {
            let read = entry.read(&mut piece).map_err(BundleError::Damaged)?;
            if read == 0 {
                break;
            }
            self.size += read as u64;
            self.limits.allow(self.size, packed.get())?;
            file.write_all(&piece[..read]).map_err(failed)?;
        }
        // The mode above went through the umask.
        file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
        if self.files <= SYNCED_ALONE {
            self.written.push(path);
        }
        self.files += 1;
        Ok(())
    }
}

fn refused(entry: &str, problem: &'static str) -> BundleError {
    BundleError::Entry { entry: entry.chars().take(200).collect(), problem }
}

/// The content of a header extension, without the zero byte at its end.
fn extension(entry: &mut impl Read) -> Result<Vec<u8>, BundleError> {
    let mut content = Vec::new();
    entry.take(MOST_EXTENSION + 1).read_to_end(&mut content).map_err(BundleError::Damaged)?;
    if content.len() as u64 > MOST_EXTENSION {
        return Err(refused("(header extension)", "is too long"));
    }
    while content.last() == Some(&0) {
        content.pop();
    }
    Ok(content)
}

/// The path in a pax header: records `LENGTH KEY=VALUE\n`. Those that change what the entry is are refused.
fn pax_path(content: &[u8]) -> Result<Option<Vec<u8>>, BundleError> {
    let broken = || refused("(pax header)", "is malformed");
    let mut rest = content;
    let mut path = None;
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let length: usize = std::str::from_utf8(&rest[..space])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(broken)?;
        let record = rest.get(space + 1..length).ok_or_else(broken)?;
        rest = &rest[length..];
        let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
        match &record[..equals] {
            b"path" => path = Some(record[equals + 1..].to_vec()),
            b"size" | b"linkpath" => return Err(refused("(pax header)", "changes the size or a link")),
            key if key.starts_with(b"GNU.sparse") => {
                return Err(refused("(pax header)", "is of a sparse file"));
            }
            _ => {}
        }
    }
    Ok(path)
}

/// A reader that counts, and fails beyond a limit.
struct Counted<R> {
    inner: R,
    read: Rc<Cell<u64>>,
    limit: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        if self.read.get() > self.limit {
            return Err(io::Error::other("the bundle is too big"));
        }
        Ok(read)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
