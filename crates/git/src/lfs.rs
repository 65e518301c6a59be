//! Files that a repository keeps outside of itself with Git LFS: in its tree lies a pointer, and the bytes are had from
//! the server that the repository is on. Whom that server names is asked within the same bounds as the repository
//! itself: this is why no program of its own does it. `.lfsconfig` is not heeded.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use runyard_webhooks::Asker;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::address::{Address, Scheme};
use crate::error::GitError;
use crate::remote::{Access, Remote};

/// The longest pointer, in bytes, and how it begins.
const LONGEST: u64 = 1024;
const VERSION: &str = "version https://git-lfs.github.com/spec/v1";

/// How many bytes all files may have, how many there may be, and how many are asked for at once.
const BYTES: u64 = 4 << 30;
const MOST: usize = 10_000;
const AT_ONCE: usize = 100;

/// How many files an error names.
const NAMED: usize = 5;

/// What the API speaks.
const MEDIA: &str = "application/vnd.git-lfs+json";

/// What a pointer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The SHA-256 of the file, in lowercase hex.
    pub oid: String,
    /// Its bytes.
    pub size: u64,
}

impl Pointer {
    /// Reads a pointer; `None` for any other file.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        (lines.next()? == VERSION).then_some(())?;
        let fields: BTreeMap<&str, &str> = lines.filter_map(|line| line.split_once(' ')).collect();
        let oid = fields.get("oid")?.strip_prefix("sha256:")?;
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let size = fields.get("size")?.parse().ok()?;
        (oid.len() == 64 && oid.bytes().all(is_hex)).then(|| Self { oid: oid.to_owned(), size })
    }
}

/// The pointers of a folder by their paths in it.
type Pointers = Vec<(PathBuf, Pointer)>;

/// Puts the files in the places of their pointers, below `code` in `part` of it. Nothing runs there any more. `remote`
/// is the repository that they are from; one that was pushed here has none.
pub(crate) async fn fill(
    remote: Option<&Remote>,
    dir: &Path,
    code: &Path,
    part: &str,
) -> Result<(), GitError> {
    const WHAT: &str = "Looking for files of Git LFS";
    let (root, folder) = (code.to_owned(), code.join(part));
    let look = move || {
        let mut found = Pointers::new();
        // A part that leads out of the repository is refused later.
        let inside = folder
            .canonicalize()
            .is_ok_and(|real| root.canonicalize().is_ok_and(|root| real.starts_with(root)));
        if inside {
            find(&root, &folder, &mut found)?;
        }
        Ok::<_, io::Error>(found)
    };
    let found = tokio::task::spawn_blocking(look).await.map_err(|error| GitError::here(WHAT, &error))?;
    let found = found.map_err(|error| GitError::here(WHAT, &error))?;
    if found.is_empty() {
        return Ok(());
    }
    let names = named(&found);
    if found.len() > MOST
        || found
            .iter()
            .map(|(_, pointer)| pointer.size)
            .try_fold(0, u64::checked_add)
            .is_none_or(|all| all > BYTES)
    {
        return Err(GitError::Refused(format!(
            "{names}: its files of Git LFS are more than {MOST}, or larger than {} GiB together",
            BYTES >> 30
        )));
    }
    let Some(remote) = remote else {
        return Err(GitError::Refused(format!(
            "{names}: a push brings the pointers of Git LFS alone, and this server keeps no such files; follow a forge \
             with 'runyard git connect', or commit the files themselves"
        )));
    };
    let server = Server::of(remote).await?;
    for some in found.chunks(AT_ONCE) {
        server.fetch(some, dir, code, &names).await?;
    }
    Ok(())
}

/// Collects the pointers below a folder. Links are not followed.
fn find(root: &Path, folder: &Path, found: &mut Pointers) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() {
            find(root, &path, found)?;
        } else if kind.is_file() && entry.metadata()?.len() <= LONGEST {
            let mut text = Vec::new();
            File::open(&path)?.take(LONGEST).read_to_end(&mut text)?;
            if let Some(pointer) = Pointer::parse(&text) {
                found.push((path.strip_prefix(root).unwrap_or(&path).to_owned(), pointer));
            }
        }
    }
    Ok(())
}

/// `weights.bin and 2 more files are only pointers to Git LFS`.
fn named(found: &Pointers) -> String {
    let plain =
        |path: &PathBuf| path.display().to_string().chars().filter(|c| !c.is_control()).collect::<String>();
    let first: Vec<String> = found.iter().take(NAMED).map(|(path, _)| plain(path)).collect();
    let (first, more) = (first.join(", "), found.len().saturating_sub(NAMED));
    match (found.len(), more) {
        (1, _) => format!("{first} is only a pointer of Git LFS"),
        (_, 0) => format!("{first} are only pointers of Git LFS"),
        _ => format!("{first} and {more} more files are only pointers of Git LFS"),
    }
}

/// Where the files are.
struct Server {
    asker: Asker,
    /// `https://host/me/repo.git/info/lfs`.
    url: String,
    headers: HeaderMap,
}

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Actions {
    download: Option<Action>,
}

/// Where one file is, and with which headers it is had.
#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
}

impl Server {
    async fn of(remote: &Remote) -> Result<Self, GitError> {
        let asker = Asker::new(remote.ground.reach);
        let address = &remote.address;
        if address.scheme == Scheme::Ssh {
            const WHAT: &str = "Asking for the files of Git LFS";
            let answer = remote.ssh_command("git-lfs-authenticate", "download", WHAT).await?;
            let Action { href, header } = serde_json::from_slice(&answer).map_err(|error| {
                GitError::Refused(format!("{WHAT} failed: the answer cannot be read: {error}"))
            })?;
            return Ok(Self {
                asker,
                url: href.trim_end_matches('/').to_owned(),
                headers: read_headers(&header),
            });
        }
        let mut headers = HeaderMap::new();
        if let Access::Token { user, token } = &remote.access {
            let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{token}")));
            headers.extend(HeaderValue::from_str(&basic).ok().map(|value| (header::AUTHORIZATION, value)));
        }
        Ok(Self { asker, url: url_of(address), headers })
    }

    /// Puts some of the files in their places.
    async fn fetch(
        &self,
        some: &[(PathBuf, Pointer)],
        dir: &Path,
        code: &Path,
        names: &str,
    ) -> Result<(), GitError> {
        let failed =
            |said: String| GitError::Failed { what: format!("{names}; fetching from {}", self.url), said };
        let objects: Vec<_> = some.iter().map(|(_, p)| json!({"oid": p.oid, "size": p.size})).collect();
        let body = json!({"operation": "download", "transfers": ["basic"], "objects": objects});
        let mut headers = self.headers.clone();
        headers.insert(header::ACCEPT, HeaderValue::from_static(MEDIA));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA));
        let url = format!("{}/objects/batch", self.url);
        let said = self
            .asker
            .ask(Method::POST, &url, headers, Bytes::from(body.to_string()))
            .await
            .map_err(failed)?;
        match said.status {
            200 => {}
            status @ (401 | 403 | 404) => {
                return Err(GitError::Refused(format!(
                    "{names}, and {url} answered with {status}: its forge keeps no such files, or wants a --token that may read \
                     them"
                )));
            }
            status => return Err(failed(format!("it answered with {status}"))),
        }
        let batch: Batch = serde_json::from_slice(&said.body)
            .map_err(|error| failed(format!("the answer cannot be read: {error}")))?;
        for (path, pointer) in some {
            let object = batch.objects.iter().find(|object| object.oid == pointer.oid);
            let action = object.and_then(|object| object.actions.as_ref()?.download.as_ref());
            let Some(action) = action else {
                let said = object.and_then(|object| Some(object.error.as_ref()?.message.clone()));
                let why = said.unwrap_or_else(|| "it was never pushed there".to_owned());
                return Err(GitError::Refused(format!(
                    "{} is only a pointer of Git LFS, and {} does not have the file: {why}",
                    path.display(),
                    self.url
                )));
            };
            self.one(&code.join(path), pointer, action, &dir.join("lfs")).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Has one file and puts it in the place of its pointer.
    async fn one(
        &self,
        place: &Path,
        pointer: &Pointer,
        action: &Action,
        aside: &Path,
    ) -> Result<(), String> {
        let mut headers = read_headers(&action.header);
        if !headers.contains_key(header::AUTHORIZATION) && action.href.starts_with(&format!("{}/", self.url))
        {
            headers.extend(self.headers.clone());
        }
        let here = |error: io::Error| format!("{} cannot be written: {error}", place.display());
        // New, or it could be a link.
        let file = fs::OpenOptions::new().write(true).create_new(true).open(aside);
        let (mut file, mut hash, mut size) = (file.map_err(here)?, Sha256::new(), 0);
        let mut sink = |piece: &[u8]| {
            hash.update(piece);
            size += piece.len() as u64;
            file.write_all(piece)
        };
        let status = self.asker.download(&action.href, headers, pointer.size, &mut sink).await?;
        if status != 200 {
            return Err(format!("{} answered with {status}", without_query(&action.href)));
        }
        let oid = hex(&hash.finalize());
        if (oid, size) != (pointer.oid.clone(), pointer.size) {
            return Err(format!("{} sent another file than the pointer says", without_query(&action.href)));
        }
        let mode = fs::symlink_metadata(place).map_err(here)?.permissions();
        fs::set_permissions(aside, mode).map_err(here)?;
        fs::rename(aside, place).map_err(here)
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Where a server over HTTP keeps the files of a repository.
fn url_of(address: &Address) -> String {
    let url = address.url();
    format!("{}.git/info/lfs", url.strip_suffix(".git").unwrap_or(&url))
}

fn read_headers(given: &BTreeMap<String, String>) -> HeaderMap {
    let read = |(name, value): (&String, &String)| {
        Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))
    };
    given.iter().filter_map(read).collect()
}

/// What follows in the address may be a signature.
fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    fn pointer(oid: &str) -> String {
        format!("{VERSION}\noid sha256:{oid}\nsize 12\n")
    }

    #[test]
    fn pointers_are_known_from_other_files() {
        let oid = "a".repeat(64);
        let found = Pointer::parse(pointer(&oid).as_bytes()).unwrap();
        assert_eq!(found, Pointer { oid: oid.clone(), size: 12 });
        for other in [
            String::new(),
            "plain text".to_owned(),
            pointer("short"),
            pointer(&"A".repeat(64)),
            pointer(&oid).replace("size 12", "size -1"),
            pointer(&oid).replace("sha256:", "md5:"),
            pointer(&oid).replace("/v1", "/v9"),
        ] {
            assert_eq!(Pointer::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn pointers_are_found_and_no_link_is_followed() {
        let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text = pointer(&"a".repeat(64));
        fs::create_dir(dir.path().join("in")).unwrap();
        for path in [dir.path().join("in/weights.bin"), out.path().join("other.bin")] {
            fs::write(path, &text).unwrap();
        }
        fs::write(dir.path().join("big"), format!("{text}{}", "x".repeat(2000))).unwrap();
        std::os::unix::fs::symlink(out.path(), dir.path().join("out")).unwrap();
        std::os::unix::fs::symlink(out.path().join("other.bin"), dir.path().join("link")).unwrap();
        let mut found = Pointers::new();
        find(dir.path(), dir.path(), &mut found).unwrap();
        let paths: Vec<_> = found.iter().map(|(path, _)| path.display().to_string()).collect();
        assert_eq!(paths, ["in/weights.bin"]);
        assert_eq!(named(&found), "in/weights.bin is only a pointer of Git LFS");
        let many = vec![found[0].clone(); 8];
        assert!(named(&many).ends_with("and 3 more files are only pointers of Git LFS"), "{}", named(&many));
    }

    #[test]
    fn servers_are_where_the_repository_is() {
        for url in ["https://h/me/x", "https://h/me/x.git"] {
            assert_eq!(url_of(&Address::parse(url).unwrap().0), "https://h/me/x.git/info/lfs");
        }
        assert_eq!(without_query("https://s/x?signature=y"), "https://s/x");
    }
}
