//! Submodules of a commit: other repositories at a commit each, put where the commit has them. They are read over the
//! same ways and from the same addresses as the repository itself; its token or key goes to its own host only.
//!
//! Only those are fetched that lie in the folder that is deployed, or that it lies in.

use std::fs;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use runyard_domain::git::{is_commit_id, is_inner_path};
use tempfile::TempDir;

use crate::address::{Address, Scheme};
use crate::checkout::{CODE, files};
use crate::command::{Bounds, size};
use crate::error::GitError;
use crate::lfs;
use crate::remote::{Access, Remote};
use crate::room::{Ground, Room};

/// How many there may be in all, how deep they may be in one another, and how many bytes their files may have.
const MOST: usize = 64;
const DEEPEST: usize = 5;
const BYTES: u64 = 4 << 30;

/// How long fetching all of them may take.
const TIME: Duration = Duration::from_mins(20);

/// Where Git keeps what it knows of submodules.
const FILE: &str = ".gitmodules";

/// What Git says where trying again does not help.
const FINAL: [&str; 5] = ["not our ref", "not found", "unadvertised object", "no such", "does not exist"];

/// One commit with what its submodules are looked up in.
pub(crate) struct Level<'a> {
    /// The folder `code` in it has the commit's files.
    pub(crate) room: Room,
    /// The repository that they are from.
    pub(crate) repository: &'a Path,
    /// The commit's hash.
    pub(crate) commit: &'a str,
    /// The folder that counts; all of them where it is empty.
    pub(crate) part: &'a str,
    /// Where it is from; `None` for what was pushed here.
    pub(crate) from: Option<&'a Remote>,
}

/// Ends a room and returns its folder, in which the submodules and the files of Git LFS are put in their places.
pub(crate) async fn complete(ground: &Ground, level: Level<'_>) -> Result<TempDir, GitError> {
    let mut filler = Filler { ground, root: level.from, count: 0, bytes: BYTES };
    let work = filler.level(level, 0);
    let what = || "Fetching the submodules".to_owned();
    tokio::time::timeout(TIME, work)
        .await
        .unwrap_or_else(|_| Err(GitError::Slow { what: what(), limit: TIME }))
}

/// A submodule as the commit describes it.
#[derive(Debug, PartialEq, Eq)]
struct Submodule {
    path: String,
    url: String,
    commit: String,
}

struct Filler<'a> {
    ground: &'a Ground,
    /// The repository that was connected: whose access there is.
    root: Option<&'a Remote>,
    count: usize,
    bytes: u64,
}

type Filling<'a> = Pin<Box<dyn Future<Output = Result<TempDir, GitError>> + Send + 'a>>;

impl Filler<'_> {
    fn level<'a>(&'a mut self, level: Level<'a>, depth: usize) -> Filling<'a> {
        Box::pin(async move {
            let mut ready = Vec::new();
            for submodule in listed(&level).await? {
                let Some(part) = part_of(level.part, &submodule.path) else { continue };
                self.count += 1;
                if self.count > MOST || depth == DEEPEST {
                    return Err(GitError::Refused(format!(
                        "the repository has more than {MOST} submodules, or they are in one another more than {DEEPEST} deep"
                    )));
                }
                let dir = self.one(&submodule, part, level.from, depth).await?;
                ready.push((submodule.path, dir));
            }
            let dir = level.room.close().await?;
            let code = dir.path().join(CODE);
            // What ran there could have put a link in its place.
            if !fs::symlink_metadata(&code).is_ok_and(|there| there.is_dir()) {
                return Err(GitError::here("Reading the commit", &"its folder is none"));
            }
            lfs::fill(level.from, dir.path(), &code, level.part).await?;
            for (path, submodule) in ready {
                put(&submodule.path().join(CODE), &code, &path).map_err(|error| {
                    GitError::Refused(format!("the submodule '{path}' cannot be put in its place: {error}"))
                })?;
            }
            Ok(dir)
        })
    }

    /// The files of one submodule, with those of its own submodules.
    async fn one(
        &mut self,
        submodule: &Submodule,
        part: &str,
        above: Option<&Remote>,
        depth: usize,
    ) -> Result<TempDir, GitError> {
        let Submodule { path, url, commit } = submodule;
        let (address, access) =
            opened(self.root, above.map(|remote| &remote.address), url).map_err(|error| {
                GitError::Refused(format!("the submodule '{path}' cannot be fetched: {error}"))
            })?;
        let what = format!("Fetching the submodule '{path}' ({}) of {}", &commit[..8], address.url());
        let remote = Remote { address, access, ground: self.ground.clone() };
        let fetched = remote.fetched(commit, commit.len() == 64, self.bytes, &what).await.map_err(settled)?;
        let (room, repository) = fetched;
        files(&room, &repository, "refs/wanted").await?;
        let code = room.path().join(CODE);
        let bytes = tokio::task::spawn_blocking(move || size(&code)).await.unwrap_or(u64::MAX);
        self.bytes = self.bytes.checked_sub(bytes).ok_or(GitError::Large { what, limit: BYTES })?;
        let level = Level { room, repository: &repository, commit, part, from: Some(&remote) };
        self.level(level, depth + 1).await
    }
}

/// An error that does not pass by itself is none to wait for: the commit that is missing was never pushed.
fn settled(error: GitError) -> GitError {
    match error {
        GitError::Failed { what, said } if FINAL.iter().any(|words| said.contains(words)) => {
            GitError::Refused(format!(
                "{what} failed: {said}; is this commit of it pushed, and may it be read?"
            ))
        }
        error => error,
    }
}

/// What counts of a submodule at `path` where `part` is what counts of the whole (nothing: all of it); `None` where
/// nothing does.
fn part_of<'a>(part: &'a str, path: &str) -> Option<&'a str> {
    let inside = path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if part.is_empty() || inside {
        return Some("");
    }
    part.strip_prefix(path)?.strip_prefix('/')
}

/// The submodules of a commit.
async fn listed(level: &Level<'_>) -> Result<Vec<Submodule>, GitError> {
    const WHAT: &str = "Reading the submodules";
    let file = tree(level, &[FILE.to_owned()]).await?;
    match file.first() {
        None => return Ok(Vec::new()),
        Some(entry) if entry.mode.starts_with("100") => {}
        Some(_) => return Err(GitError::Refused(format!("{FILE} is not a file in this commit"))),
    }
    let mut config = level.room.git();
    config.arg("--git-dir").arg(level.repository).args(["config", "-z", "--list", "--blob"]);
    config.arg(format!("{}:{FILE}", level.commit));
    let answer = level.room.run(config, WHAT, &Bounds::brief()).await;
    let answer = answer
        .map_err(|error| GitError::Refused(format!("{FILE} of this commit cannot be read: {error}")))?;
    let described = parse(&String::from_utf8_lossy(&answer))?;
    if described.is_empty() {
        return Ok(Vec::new());
    }
    let paths: Vec<String> = described.iter().map(|(path, _)| path.clone()).collect();
    let entries = tree(level, &paths).await?;
    let commit_at = |path: &str| {
        let entry = entries.iter().find(|entry| entry.path == path && entry.mode == "160000")?;
        is_commit_id(&entry.id).then(|| entry.id.clone())
    };
    let found = described.into_iter().filter_map(|(path, url)| {
        let commit = commit_at(&path)?;
        Some(Submodule { path, url, commit })
    });
    Ok(found.collect())
}

/// An entry of a commit's tree.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: String,
    id: String,
    path: String,
}

/// The entries at these paths, where they are there.
async fn tree(level: &Level<'_>, paths: &[String]) -> Result<Vec<Entry>, GitError> {
    let mut list = level.room.git();
    list.arg("--git-dir")
        .arg(level.repository)
        .args(["ls-tree", "-z", "--full-tree", level.commit, "--"])
        .args(paths);
    let answer = level.room.run(list, "Reading the submodules", &Bounds::brief()).await?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let read = |entry: &str| {
        let (about, path) = entry.split_once('\t')?;
        let mut words = about.split(' ');
        let (mode, _, id) = (words.next()?, words.next()?, words.next()?);
        Some(Entry { mode: mode.to_owned(), id: id.to_owned(), path: path.to_owned() })
    };
    Ok(text.split('\0').filter_map(read).collect())
}

/// Reads what `git config` says of `.gitmodules`: path and address of each submodule that is to be fetched.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, GitError> {
    /// What was said so far of one.
    #[derive(Default)]
    struct Said<'a> {
        name: &'a str,
        path: Option<&'a str>,
        url: Option<&'a str>,
        skipped: bool,
    }
    let mut all: Vec<Said<'_>> = Vec::new();
    for entry in text.split('\0') {
        let (key, value) = entry.split_once('\n').unwrap_or((entry, ""));
        let Some((name, what)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else {
            continue;
        };
        let at = all.iter().position(|said| said.name == name).unwrap_or_else(|| {
            all.push(Said { name, ..Said::default() });
            all.len() - 1
        });
        match what {
            "path" => all[at].path = Some(value),
            "url" => all[at].url = Some(value),
            "update" => all[at].skipped = value == "none",
            _ => {}
        }
        if all.len() > MOST {
            return Err(GitError::Refused(format!("the repository has more than {MOST} submodules")));
        }
    }
    let mut found: Vec<(String, String)> = Vec::new();
    for said in all.into_iter().filter(|said| !said.skipped) {
        let (Some(path), Some(url)) = (said.path, said.url) else { continue };
        if !is_inner_path(path) {
            let shown: String = path.chars().filter(|c| !c.is_control()).take(120).collect();
            return Err(GitError::Refused(format!(
                "the submodule at '{shown}' lies outside of the repository"
            )));
        }
        if !found.iter().any(|(known, _)| known == path) {
            found.push((path.to_owned(), url.to_owned()));
        }
    }
    Ok(found)
}

/// The address of a submodule, and how it is opened.
fn opened(root: Option<&Remote>, base: Option<&Address>, url: &str) -> Result<(Address, Access), GitError> {
    let (mut address, inside) = match (url.starts_with("./") || url.starts_with("../"), base) {
        (true, Some(base)) => (joined(base, url)?, None),
        (true, None) => {
            return Err(GitError::Refused(format!(
                "'{url}' is relative, and a repository that is pushed here has no neighbours: write the whole address"
            )));
        }
        (false, _) => Address::parse(url)?,
    };
    let Some(root) = root else { return Ok((address, own(inside))) };
    // Written for a person with a key; the repository itself was opened in another way.
    if address.scheme == Scheme::Ssh
        && root.address.scheme != Scheme::Ssh
        && address.host == root.address.host
    {
        let Address { scheme, port, .. } = root.address;
        address = Address { scheme, port, user: None, ..address };
    }
    let same = |of: &Address| (of.scheme, of.host.to_ascii_lowercase(), of.port);
    let access = match inside {
        None if same(&address) == same(&root.address) => root.access.clone(),
        inside => own(inside),
    };
    Ok((address, access))
}

/// The access that an address carries itself.
fn own(inside: Option<(String, String)>) -> Access {
    inside.map_or(Access::Open, |(user, token)| {
        let user = if user.is_empty() { "x-access-token".to_owned() } else { user };
        Access::Token { user, token }
    })
}

/// A relative address, from that of the repository which names it.
fn joined(base: &Address, url: &str) -> Result<Address, GitError> {
    let mut parts: Vec<&str> = base.path.split('/').filter(|part| !part.is_empty()).collect();
    for part in url.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_some() => {}
            ".." => return Err(GitError::Refused(format!("'{url}' leads out of {}", base.url()))),
            part => parts.push(part),
        }
    }
    let address = Address { path: format!("/{}", parts.join("/")), ..base.clone() };
    Address::parse(&address.url()).map(|(address, _)| address)
}

/// Puts a folder where the commit has a submodule. Nothing runs there any more that could change the way to it.
fn put(from: &Path, code: &Path, path: &str) -> io::Result<()> {
    let root = code.canonicalize()?;
    let place = root.join(path);
    let parent = place.parent().unwrap_or(&root);
    if parent.canonicalize()? != parent {
        return Err(io::Error::other("a link leads there"));
    }
    match fs::symlink_metadata(&place) {
        Ok(there) if there.is_dir() => fs::remove_dir(&place)?,
        Ok(_) => return Err(io::Error::other("something else is there")),
        Err(_) => {}
    }
    fs::rename(from, place)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use runyard_webhooks::Reach;

    use super::*;

    fn remote(url: &str, access: Access) -> Remote {
        let (work, known_hosts) = (std::env::temp_dir(), std::env::temp_dir().join("known_hosts"));
        let ground = Ground { reach: Reach::Public, work, known_hosts, keeper: None };
        Remote { address: Address::parse(url).unwrap().0, access, ground }
    }

    #[test]
    fn what_git_says_is_read() {
        let text = "submodule.lib.path\nlibs/lib\0submodule.lib.url\n../lib.git\0submodule.a.b.path\nx\0\
                    submodule.a.b.url\nhttps://h/x\0submodule.no.path\nno\0submodule.no.url\nx\0submodule.no.update\nnone\0\
                    submodule.half.path\nhalf\0core.editor\nevil\0";
        let read = parse(text).unwrap();
        assert_eq!(read, [("libs/lib".into(), "../lib.git".into()), ("x".into(), "https://h/x".into())]);
        for path in ["../x", "/etc", ".git/hooks", "a/../../b", "-x", ""] {
            let text = format!("submodule.e.path\n{path}\0submodule.e.url\nhttps://h/x\0");
            assert!(parse(&text).is_err(), "{path}");
        }
        let one = |n: usize| format!("submodule.s{n}.path\np{n}\0submodule.s{n}.url\nu\0");
        let many = (0..=MOST).map(one).collect::<Vec<_>>().concat();
        assert!(parse(&many).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn relative_addresses_begin_at_the_repository() {
        let base = Address::parse("https://h:81/me/app.git").unwrap().0;
        for (url, expected) in [
            ("../lib.git", "https://h:81/me/lib.git"),
            ("../../you/lib", "https://h:81/you/lib"),
            ("./lib", "https://h:81/me/app.git/lib"),
        ] {
            assert_eq!(joined(&base, url).unwrap().url(), expected, "{url}");
        }
        for url in ["../../../x", "../../..", "../..", "../a;b", "../-x"] {
            assert!(joined(&base, url).is_err(), "{url}");
        }
        assert!(opened(None, None, "../lib").unwrap_err().to_string().contains("no neighbours"));
    }

    #[test]
    fn the_token_goes_to_its_own_host_only() {
        let token = Access::Token { user: "me".into(), token: "hush".into() };
        let root = remote("https://h/me/app", token.clone());
        let access = |url: &str| opened(Some(&root), Some(&root.address), url).unwrap();
        for url in [
            "../lib",
            "https://h/you/lib",
            "https://H/you/lib",
            "git@h:you/lib.git",
            "ssh://git@h:2222/you/lib",
        ] {
            let (address, access) = access(url);
            assert_eq!((address.scheme, address.port, access), (Scheme::Https, 443, token.clone()), "{url}");
        }
        for url in [
            "https://other/lib",
            "http://h/you/lib",
            "https://h:8443/you/lib",
            "git@other:x/y",
            "https://h.evil/x",
        ] {
            assert_eq!(access(url).1, Access::Open, "{url}");
        }
        let own = Access::Token { user: "x-access-token".into(), token: "own".into() };
        assert_eq!(access("https://own@h/x/y").1, own);
        let root = remote("git@h:me/app", Access::Key("KEY".into()));
        let access = |url: &str| opened(Some(&root), Some(&root.address), url).unwrap().1;
        assert_eq!((access("../lib"), access("https://h/me/lib")), (Access::Key("KEY".into()), Access::Open));
        for url in ["file:///etc", "ext::sh -c id", "/etc", "--upload-pack=x"] {
            assert!(opened(Some(&root), Some(&root.address), url).is_err(), "{url}");
        }
    }

    #[test]
    fn only_what_is_deployed_is_fetched() {
        for (part, path, expected) in [
            ("", "libs/x", Some("")),
            ("app", "app/libs/x", Some("")),
            ("app", "app", Some("")),
            ("libs/x/app", "libs/x", Some("app")),
            ("app", "libs/x", None),
            ("app", "apple", None),
            ("apple", "app", None),
        ] {
            assert_eq!(part_of(part, path), expected, "{part} {path}");
        }
    }

    #[test]
    fn a_link_on_the_way_is_not_followed() {
        let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, code) = (dir.path().join("from"), dir.path().join("code"));
        fs::create_dir_all(from.join("in")).unwrap();
        fs::create_dir_all(code.join("libs/x")).unwrap();
        std::os::unix::fs::symlink(out.path(), code.join("out")).unwrap();
        std::os::unix::fs::symlink(out.path(), code.join("libs/link")).unwrap();
        fs::write(code.join("file"), "").unwrap();
        for path in ["out/x", "libs/link", "file", "libs"] {
            assert!(put(&from, &code, path).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
        put(&from, &code, "libs/x").unwrap();
        assert!(code.join("libs/x/in").is_dir());
    }
}
