//! Packing: a folder, less what its ignore files hide, into a deterministic archive.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use ignore::WalkBuilder;

use super::{Bundle, BundleError, Limits, PROJECT, digest};
use crate::walk::walker;

/// What goes along with a handler that is packed as a single file.
const COMPANIONS: [&str; 5] =
    ["requirements.txt", "pyproject.toml", "uv.lock", ".python-version", "test_input.json"];

/// How many links to folders may lead through each other.
const MOST_LINKS: usize = 8;

/// Packs a folder, or a single file with the requirements and the test input beside it, within the usual
/// limits.
pub fn pack(dir_or_file: &Path) -> Result<Bundle, BundleError> {
    pack_with(dir_or_file, &Limits::default())
}

/// Packs within other limits.
///
/// The archive holds files only, sorted by path, each with the time 0, no owner, and the mode 0755 or 0644.
/// A link inside the folder becomes what it leads to; one that leads out is an error.
pub fn pack_with(dir_or_file: &Path, limits: &Limits) -> Result<Bundle, BundleError> {
    let files = chosen(dir_or_file, limits)?;
    archive_of(&files, dir_or_file, limits)
}

/// Packs these files: name in the archive → path on disk.
pub(crate) fn archive_of(
    files: &BTreeMap<String, PathBuf>,
    dir_or_file: &Path,
    limits: &Limits,
) -> Result<Bundle, BundleError> {
    if files.is_empty() {
        return Err(BundleError::Empty { path: dir_or_file.to_path_buf() });
    }
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut size = 0;
    for (name, path) in files {
        size += append(&mut archive, name, path, limits, size)?;
        if archive.get_ref().get_ref().len() as u64 > limits.packed {
            return Err(BundleError::Packed { limit: limits.packed });
        }
    }
    // Writing into memory does not fail; if it did, it would be the archive's own doing.
    let bytes = archive
        .into_inner()
        .and_then(|mut gzip| gzip.flush().and_then(|()| gzip.finish()))
        .map_err(BundleError::Damaged)?;
    if bytes.len() as u64 > limits.packed {
        return Err(BundleError::Packed { limit: limits.packed });
    }
    limits.allow(size, bytes.len() as u64)?;
    Ok(Bundle { sha256: digest(&bytes), bytes, files: files.len(), size })
}

/// The files to pack: name in the archive → path on disk.
fn chosen(dir_or_file: &Path, limits: &Limits) -> Result<BTreeMap<String, PathBuf>, BundleError> {
    let root = real(dir_or_file)?;
    let mut files = BTreeMap::new();
    if root.is_dir() {
        let look = Look { root: &root, limits, walk: walker, keep: &|name| name != PROJECT };
        look.collect(&root, "", 0, &mut files)?;
        return Ok(files);
    }
    // The name counts as it was given, also where it is a link.
    let dir = dir_or_file.parent().unwrap_or(Path::new(""));
    let name = PathBuf::from(dir_or_file.file_name().unwrap_or_default());
    let name = name.to_str().ok_or_else(|| BundleError::NotUtf8 { path: name.clone() })?;
    files.insert(name.to_owned(), root);
    for companion in COMPANIONS {
        let path = dir.join(companion);
        if path.is_file() {
            files.insert(companion.to_owned(), path);
        }
    }
    Ok(files)
}

/// How a folder is looked through.
pub(crate) struct Look<'a> {
    /// The folder; links may not lead out of it.
    pub(crate) root: &'a Path,
    /// How much there may be.
    pub(crate) limits: &'a Limits,
    /// Goes through a folder.
    pub(crate) walk: fn(&Path) -> WalkBuilder,
    /// Whether a file is taken, by its name in the archive.
    pub(crate) keep: &'a dyn Fn(&str) -> bool,
}

impl Look<'_> {
    /// Collects the files under `dir` with names that begin with `prefix`.
    pub(crate) fn collect(
        &self,
        dir: &Path,
        prefix: &str,
        links: usize,
        files: &mut BTreeMap<String, PathBuf>,
    ) -> Result<(), BundleError> {
        let Self { root, limits, walk, keep } = self;
        for entry in walk(dir).build() {
            let entry = entry?;
            let path = entry.path();
            let Some(kind) = entry.file_type().filter(|_| entry.depth() > 0) else { continue };
            if kind.is_dir() {
                continue;
            }
            let relative = path.strip_prefix(dir).unwrap_or(path);
            let relative =
                relative.to_str().ok_or_else(|| BundleError::NotUtf8 { path: path.to_path_buf() })?;
            let name = format!("{prefix}{relative}");
            if !keep(&name) {
                continue;
            }
            if name.len() > limits.path {
                return Err(too_long(&name, limits));
            }
            if kind.is_file() {
                files.insert(name, path.to_path_buf());
            } else if kind.is_symlink() {
                let target = real(path)?;
                if !target.starts_with(root) {
                    return Err(BundleError::LinkOutside { path: path.to_path_buf(), target });
                }
                if target.is_dir() {
                    if links == MOST_LINKS || path.starts_with(&target) {
                        return Err(BundleError::LinkLoop { path: path.to_path_buf() });
                    }
                    self.collect(&target, &format!("{name}/"), links + 1, files)?;
                } else if target.is_file() {
                    files.insert(name, target);
                } else {
                    return Err(BundleError::Special { path: path.to_path_buf() });
                }
            } else {
                return Err(BundleError::Special { path: path.to_path_buf() });
            }
            if files.len() > limits.files {
                return Err(BundleError::Files { limit: limits.files });
            }
        }
        Ok(())
    }
}

/// Appends a file as it is now: what is read counts, not what the folder said before. Returns its size.
fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    path: &Path,
    limits: &Limits,
    so_far: u64,
) -> Result<u64, BundleError> {
    let failed = |source| BundleError::Read { path: path.to_path_buf(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let executable = file.metadata().map_err(failed)?.permissions().mode() & 0o111 != 0;
    let left = limits.unpacked.saturating_sub(so_far);
    let mut content = Vec::new();
    file.take(left + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > left {
        return Err(BundleError::Unpacked { limit: limits.unpacked });
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(content.len() as u64);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    archive.append_data(&mut header, name, content.as_slice()).map_err(failed)?;
    Ok(content.len() as u64)
}

pub(crate) fn real(path: &Path) -> Result<PathBuf, BundleError> {
    path.canonicalize().map_err(|source| {
        let source = match source.kind() {
            io::ErrorKind::NotFound if path.is_symlink() => {
                io::Error::new(io::ErrorKind::NotFound, "the link leads nowhere")
            }
            _ => source,
        };
        BundleError::Read { path: path.to_path_buf(), source }
    })
}

pub(super) fn too_long(name: &str, limits: &Limits) -> BundleError {
    BundleError::PathTooLong { limit: limits.path, start: name.chars().take(80).collect() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::bundle::unpack;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn names(dir: &Path) -> Vec<String> {
        chosen(dir, &Limits::default()).unwrap().into_keys().collect()
    }

    #[test]
    fn the_project_file_is_no_part_of_the_code() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        for name in ["handler.py", "sub/runyard.toml"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let before = pack(dir.path()).unwrap();
        fs::write(dir.path().join(PROJECT), "name = \"x\"").unwrap();
        assert_eq!(pack(dir.path()).unwrap().sha256, before.sha256);
        assert_eq!(before.files, 2);
    }

    #[test]
    fn ignore_files_are_respected_outside_of_git_too() {
        let dir = folder(&[
            (".gitignore", "*.log\nweights.npz\n"),
            (".runyardignore", "!weights.npz\nsecret\n"),
            ("handler.py", ""),
            ("weights.npz", ""),
            ("secret", ""),
            ("sub/a.log", ""),
            ("sub/b.txt", ""),
            (".runpod/tests.json", ""),
            (".env", ""),
            (".git/config", ""),
            ("venv/bin/python", ""),
            ("sub/node_modules/x.js", ""),
            ("__pycache__/handler.pyc", ""),
            ("old.pyc", ""),
        ]);
        assert_eq!(
            names(dir.path()),
            [
                ".env",
                ".gitignore",
                ".runpod/tests.json",
                ".runyardignore",
                "handler.py",
                "sub/b.txt",
                "weights.npz"
            ]
        );
    }

    #[test]
    fn ignore_files_above_count_inside_of_a_repository_only() {
        let dir = folder(&[(".gitignore", ".env\n"), ("app/handler.py", ""), ("app/.env", "")]);
        assert_eq!(names(&dir.path().join("app")), [".env", "handler.py"]);
        fs::create_dir(dir.path().join(".git")).unwrap();
        assert_eq!(names(&dir.path().join("app")), ["handler.py"]);
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let one = folder(&[("b.py", "2"), ("a/c.py", "1")]);
        let two = folder(&[("a/c.py", "1"), ("b.py", "2")]);
        fs::set_permissions(two.path().join("b.py"), fs::Permissions::from_mode(0o600)).unwrap();
        let (first, second) = (pack(one.path()).unwrap(), pack(two.path()).unwrap());
        assert_eq!(first.sha256, second.sha256);
        assert_eq!((first.files, first.size), (2, 2));
        fs::set_permissions(two.path().join("b.py"), fs::Permissions::from_mode(0o700)).unwrap();
        assert_ne!(pack(two.path()).unwrap().sha256, first.sha256);
    }

    #[test]
    fn links_inside_become_their_content() {
        let dir = folder(&[("real/a.txt", "A"), ("z.txt", "Z")]);
        symlink("real", dir.path().join("alias")).unwrap();
        symlink("../z.txt", dir.path().join("real/z")).unwrap();
        assert_eq!(names(dir.path()), ["alias/a.txt", "alias/z", "real/a.txt", "real/z", "z.txt"]);
        let out = tempfile::tempdir().unwrap();
        let bundle = pack(dir.path()).unwrap();
        unpack(&bundle.bytes[..], &out.path().join("x"), &Limits::default()).unwrap();
        assert_eq!(fs::read_to_string(out.path().join("x/alias/z")).unwrap(), "Z");
    }

    #[test]
    fn bad_links_are_named() {
        let dir = folder(&[("a.txt", "")]);
        for (target, words) in
            [("/etc/passwd", "outside"), ("..", "outside"), (".", "back"), ("gone", "nowhere")]
        {
            let link = dir.path().join("link");
            symlink(target, &link).unwrap();
            let error = pack(dir.path()).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("/link"), "{error}");
            fs::remove_file(link).unwrap();
        }
        symlink("/etc/passwd", dir.path().join("link")).unwrap();
        fs::write(dir.path().join(".runyardignore"), "link").unwrap();
        assert!(pack(dir.path()).is_ok());
    }

    #[test]
    fn a_single_file_takes_its_companions_along() {
        let dir = folder(&[
            ("handler.py", ""),
            ("other.py", ""),
            ("requirements.txt", ""),
            ("test_input.json", ""),
        ]);
        assert_eq!(
            names(&dir.path().join("handler.py")),
            ["handler.py", "requirements.txt", "test_input.json"]
        );
    }

    #[test]
    fn limits_hold() {
        let dir = folder(&[("a", "12345"), ("b", "12345")]);
        let limits = Limits::default();
        let fails = |limits: Limits| pack_with(dir.path(), &limits).unwrap_err();
        assert!(matches!(fails(Limits { files: 1, ..limits }), BundleError::Files { limit: 1 }));
        assert!(matches!(fails(Limits { unpacked: 9, ..limits }), BundleError::Unpacked { limit: 9 }));
        assert!(matches!(fails(Limits { packed: 20, ..limits }), BundleError::Packed { limit: 20 }));
        assert!(matches!(fails(Limits { path: 0, ..limits }), BundleError::PathTooLong { .. }));
        assert!(matches!(pack(tempfile::tempdir().unwrap().path()), Err(BundleError::Empty { .. })));
    }

    #[test]
    fn long_names_survive() {
        let name = format!("{}/{}.py", "d".repeat(120), "f".repeat(120));
        let dir = folder(&[(&name, "x")]);
        let out = tempfile::tempdir().unwrap();
        unpack(&pack(dir.path()).unwrap().bytes[..], &out.path().join("x"), &Limits::default()).unwrap();
        assert_eq!(fs::read_to_string(out.path().join("x").join(name)).unwrap(), "x");
    }
}
