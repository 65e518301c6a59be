//! A folder as a browser sends it: file by file with their paths, or as one archive, `.zip` or `.tar.gz`, or one
//! handler alone. It becomes a folder of its own that is packed like any other, ignore files and all, and goes with its
//! value. Nothing that is sent is believed: paths stay inside, links and devices are refused, and sizes are bounded.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use thiserror::Error;

use crate::bundle::{self, BundleError, Limits};

/// How much of a zip archive's end is looked through for its directory: its longest remark, and the record itself.
const ZIP_END: u64 = 65_535 + 22;

/// The largest directory of a zip archive, in bytes.
const ZIP_DIRECTORY: u32 = 32 << 20;

/// Why an upload was not taken.
#[derive(Debug, Error)]
pub enum UploadError {
    /// It has no files.
    #[error("no file came: choose a folder, an archive (.zip, .tar.gz) or a handler (.py)")]
    Empty,
    /// A path that no folder has.
    #[error("the file {path:?} {problem}")]
    Path {
        /// As it was sent.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It is more than a bundle may be.
    #[error("{0}")]
    Bundle(#[from] BundleError),
    /// The archive cannot be read.
    #[error("the archive cannot be read: {0}")]
    Archive(String),
    /// It could not be written here.
    #[error("the upload could not be kept: {0}")]
    Write(#[from] io::Error),
}

/// What came, in a folder that goes with this value.
#[derive(Debug)]
pub struct Upload {
    dir: TempDir,
    limits: Limits,
    names: Vec<String>,
    open: Option<File>,
    size: u64,
}

/// A folder that came.
#[derive(Debug)]
pub struct Folder {
    /// Removes it.
    _dir: TempDir,
    /// Where the code lies.
    pub path: PathBuf,
    /// What it was called, where it had a name.
    pub name: Option<String>,
}

impl Upload {
    /// An empty one.
    ///
    /// # Errors
    /// That there is no place for it.
    pub fn new(limits: Limits) -> Result<Self, UploadError> {
        let dir = tempfile::Builder::new().prefix("runyard-upload-").tempdir()?;
        fs::create_dir(dir.path().join("in"))?;
        Ok(Self { dir, limits, names: Vec::new(), open: None, size: 0 })
    }

    /// Begins the next file, by its path as it was sent.
    ///
    /// # Errors
    /// That the path leads out, or that there are too many files.
    pub fn begin(&mut self, path: &str) -> Result<(), UploadError> {
        let clean = clean(path, &self.limits)?;
        if self.names.len() >= self.limits.files {
            return Err(BundleError::Files { limit: self.limits.files }.into());
        }
        let place = self.inbox().join(&clean);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options().write(true).create_new(true).open(&place).map_err(|error| match error
            .kind()
        {
            io::ErrorKind::AlreadyExists => refused(path, "is there twice"),
            _ => UploadError::Write(error),
        })?;
        self.open = Some(file);
        self.names.push(clean);
        Ok(())
    }

    /// Takes the next piece of the file that was begun.
    ///
    /// # Errors
    /// That it is too much, or cannot be kept.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), UploadError> {
        self.size += piece.len() as u64;
        // A folder is packed from here; an archive that comes packed has the same bound when it is unpacked.
        if self.size > self.limits.unpacked {
            return Err(BundleError::Unpacked { limit: self.limits.unpacked }.into());
        }
        if let Some(file) = &mut self.open {
            file.write_all(piece)?;
        }
        Ok(())
    }

    /// The folder that came. Blocks.
    ///
    /// # Errors
    /// That nothing came, or that an archive holds what no bundle may.
    pub fn finish(mut self) -> Result<Folder, UploadError> {
        self.open = None;
        let root = self.inbox();
        let (path, name) = match self.names.as_slice() {
            [] => return Err(UploadError::Empty),
            [one] => match archive(one) {
                Some((stem, is_zip)) => (self.unpacked(&root.join(one), is_zip)?, Some(stem.to_owned())),
                None => match one.rsplit_once('/') {
                    Some((folder, _)) => (root.join(folder), last_of(folder)),
                    None => (root, None),
                },
            },
            many => match common(many) {
                Some(folder) => (root.join(folder), Some(folder.to_owned())),
                None => (root, None),
            },
        };
        // An archive often holds one folder, and everything in that.
        let (path, inner) = descended(path)?;
        Ok(Folder { path, name: inner.or(name), _dir: self.dir })
    }

    fn inbox(&self) -> PathBuf {
        self.dir.path().join("in")
    }

    fn unpacked(&self, archive: &Path, is_zip: bool) -> Result<PathBuf, UploadError> {
        let dest = self.dir.path().join("out");
        let file = File::open(archive)?;
        if is_zip {
            fs::create_dir(&dest)?;
            unzip(file, &dest, &self.limits)?;
        } else {
            bundle::unpack(file, &dest, &self.limits)?;
        }
        Ok(dest)
    }
}

fn refused(path: &str, problem: &'static str) -> UploadError {
    UploadError::Path { path: path.chars().take(200).collect(), problem }
}

/// A path as one below a folder.
fn clean(path: &str, limits: &Limits) -> Result<String, UploadError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let problem = if path.len() > limits.path {
        "has a path that is too long"
    } else if path.starts_with('/') || path.contains('\\') || parts.contains(&"..") {
        "does not lie in the folder"
    } else if path.chars().any(char::is_control) || parts.iter().any(|part| part.len() > 255) {
        "has a name that no file has"
    } else if parts.is_empty() {
        "has no name"
    } else {
        return Ok(parts.join("/"));
    };
    Err(refused(path, problem))
}

/// The name of an archive without its ending, and whether it is a zip.
fn archive(name: &str) -> Option<(&str, bool)> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let lower = file.to_ascii_lowercase();
    let endings = [(".zip", true), (".tar.gz", false), (".tgz", false)];
    let (ending, is_zip) = endings.into_iter().find(|(ending, _)| lower.ends_with(ending))?;
    Some((&file[..file.len() - ending.len()], is_zip))
}

/// The folder that all of these lie in.
fn common(names: &[String]) -> Option<&str> {
    let (first, _) = names.first()?.split_once('/')?;
    names
        .iter()
        .all(|name| name.strip_prefix(first).is_some_and(|rest| rest.starts_with('/')))
        .then_some(first)
}

fn last_of(path: &str) -> Option<String> {
    path.rsplit('/').next().map(str::to_owned)
}

/// The folder, or the only one in it, where there is nothing else; and what that is called.
fn descended(path: PathBuf) -> Result<(PathBuf, Option<String>), UploadError> {
    let mut inside = fs::read_dir(&path)?.take(2);
    match (inside.next().transpose()?, inside.next()) {
        (Some(one), None) if one.file_type()?.is_dir() && one.file_name() != ".runpod" => {
            Ok((one.path(), Some(one.file_name().to_string_lossy().into_owned())))
        }
        _ => Ok((path, None)),
    }
}

/// Unpacks a zip archive into an empty folder.
fn unzip(mut file: File, dest: &Path, limits: &Limits) -> Result<(), UploadError> {
    let packed = check_directory(&mut file, limits)?;
    let broken = |error: zip::result::ZipError| UploadError::Archive(error.to_string());
    let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
    let mut size = 0;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        let mode = entry.unix_mode().unwrap_or(0);
        if entry.is_symlink() || !matches!(mode & 0o170_000, 0 | 0o100_000 | 0o040_000) {
            return Err(refused(&name, "is a link or a device"));
        }
        if entry.is_dir() {
            continue;
        }
        let path = dest.join(clean(&name, limits)?);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut out = File::options().write(true).create_new(true).open(&path).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                refused(&name, "is there twice")
            } else {
                error.into()
            }
        })?;
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = entry.read(&mut piece).map_err(|error| UploadError::Archive(error.to_string()))?;
            if read == 0 {
                break;
            }
            size += read as u64;
            limits.allow(size, packed)?;
            out.write_all(&piece[..read])?;
        }
        let executable = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        out.set_permissions(fs::Permissions::from_mode(executable))?;
    }
    Ok(())
}

/// Refuses an archive whose directory is larger than any that could be taken, before it is read into memory; answers the
/// archive's size.
fn check_directory(file: &mut File, limits: &Limits) -> Result<u64, UploadError> {
    let size = file.seek(SeekFrom::End(0))?;
    if size > limits.packed {
        return Err(BundleError::Packed { limit: limits.packed }.into());
    }
    file.seek(SeekFrom::Start(size.saturating_sub(ZIP_END + 20)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    file.rewind()?;
    let end = tail.windows(4).rposition(|bytes| bytes == b"PK\x05\x06");
    let Some(record) = end.and_then(|at| tail.get(at..at + 22)) else {
        return Err(UploadError::Archive("it is no zip archive, or broke off".to_owned()));
    };
    // An archive of the large format has more files, or is larger, than is taken.
    let large = end
        .and_then(|at| tail.get(at.checked_sub(20)?..at))
        .is_some_and(|before| before.starts_with(b"PK\x06\x07"));
    let count = usize::from(u16::from_le_bytes([record[10], record[11]]));
    let directory = u32::from_le_bytes([record[12], record[13], record[14], record[15]]);
    if large || count > limits.files || directory > ZIP_DIRECTORY {
        return Err(BundleError::Files { limit: limits.files }.into());
    }
    Ok(size)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sent(files: &[(&str, &[u8])]) -> Result<Folder, UploadError> {
        let mut upload = Upload::new(Limits { unpacked: 1 << 20, files: 20, ..Limits::default() })?;
        for (path, content) in files {
            upload.begin(path)?;
            upload.write(content)?;
        }
        upload.finish()
    }

    fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, content) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn a_folder_comes_file_by_file() {
        let folder = sent(&[("t2i/handler.py", b"x"), ("t2i/a/b.txt", b"y")]).unwrap();
        assert_eq!(folder.name.as_deref(), Some("t2i"));
        assert_eq!(fs::read(folder.path.join("a/b.txt")).unwrap(), b"y");
        let alone = sent(&[("handler.py", b"x")]).unwrap();
        assert!(alone.path.join("handler.py").is_file() && alone.name.is_none());
        let kept = folder.path.clone();
        drop(folder);
        assert!(!kept.exists(), "it goes with its value");
    }

    #[test]
    fn an_archive_becomes_its_folder() {
        let zip = zipped(&[("proj/handler.py", b"x"), ("proj/requirements.txt", b"")]);
        let folder = sent(&[("code.zip", &zip)]).unwrap();
        assert!(folder.path.join("handler.py").is_file());
        assert_eq!(folder.name.as_deref(), Some("proj"));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("handler.py"), "x").unwrap();
        let tar = crate::pack(dir.path()).unwrap().bytes;
        let folder = sent(&[("code.tar.gz", &tar)]).unwrap();
        assert!(folder.path.join("handler.py").is_file());
        assert_eq!(folder.name.as_deref(), Some("code"));
    }

    #[test]
    fn nothing_hostile_is_taken() {
        for path in ["../x", "/etc/x", "a/../../x", "", "a\nb", "a\\b", &"x/".repeat(600)] {
            assert!(matches!(sent(&[(path, b"")]), Err(UploadError::Path { .. })), "{path}");
        }
        assert!(matches!(sent(&[]), Err(UploadError::Empty)));
        assert!(matches!(sent(&[("a", b""), ("a", b"")]), Err(UploadError::Path { .. })));
        assert!(sent(&[("a", &vec![0; 2 << 20])]).unwrap_err().to_string().contains("1 MiB together"));
        assert!(sent(&[("a.zip", b"no zip")]).unwrap_err().to_string().contains("no zip archive"));
        assert!(sent(&[("a.zip", &zipped(&[("../x", b"")]))]).is_err());
        assert!(sent(&[("a.zip", &zipped(&[("x", &vec![0; 2 << 20])]))]).is_err());
        let many: Vec<(String, &[u8])> = (0..30).map(|n| (format!("f{n}"), &b""[..])).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(name, content)| (name.as_str(), *content)).collect();
        assert!(sent(&[("a.zip", &zipped(&many))]).unwrap_err().to_string().contains("more than 20 files"));
    }
}
