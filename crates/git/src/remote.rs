//! A repository elsewhere: what its branches and tags are, and one commit of it. The host's name is resolved here,
//! checked, and Git goes to the address that passed, so that no name leads into a private network.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runyard_domain::git::{is_commit_id, is_valid_reference};
use rustix::fs::OFlags;
use tokio::process::Command;

use crate::address::{Address, Scheme};
use crate::checkout::Checkout;
use crate::command::{self, Bounds};
use crate::error::GitError;
use crate::room::{As, Ground, Room};

/// How long a fetch may take, and how many bytes it may bring.
const FETCH_TIME: Duration = Duration::from_mins(10);
const FETCH_BYTES: u64 = 2 << 30;

/// Files of a room: a private key, and the keys of SSH hosts that were seen before, with the most that is read of it.
const KEY: &str = "key";
const KNOWN_HOSTS: &str = "known_hosts";
const KNOWN_BYTES: u64 = 4 << 20;

/// How a repository is opened.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// It is open to all.
    #[default]
    Open,
    /// A name and a password or token, for `http:`.
    Token {
        /// The name; many forges take any.
        user: String,
        /// The token.
        token: String,
    },
    /// A private key as OpenSSH writes it, for `ssh:`.
    Key(String),
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "Open",
            Self::Token { .. } => "Token",
            Self::Key(_) => "Key",
        })
    }
}

/// A branch or tag, and the commit that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ref {
    /// `refs/heads/main`, `refs/tags/v1`.
    pub name: String,
    /// The commit's hash.
    pub commit: String,
}

/// A repository elsewhere.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Where.
    pub address: Address,
    /// How it is opened.
    pub access: Access,
    /// What all repositories share.
    pub ground: Ground,
}

impl Remote {
    /// The branches and tags with these full names, or all tags for `refs/tags/*`, tags in the order of versions, the
    /// lowest first.
    pub async fn refs(&self, names: &[String]) -> Result<Vec<Ref>, GitError> {
        let what = format!("Reading {}", self.address.url());
        let room = self.room(&what).await?;
        let mut command = self.command(&room).await?;
        // `v1.0-rc1` comes before `v1.0`.
        command::settings(&mut command, [("versionsort.suffix", "-".to_owned())]);
        command.args(["ls-remote", "--quiet", "--sort=version:refname", "--", &self.address.url()]);
        command.args(names);
        // A tag that is an object of its own shows the commit behind it under a name of its own.
        command.args(
            names.iter().filter(|name| name.starts_with("refs/tags/")).map(|name| format!("{name}^{{}}")),
        );
        let answer = room.run(command, &what, &Bounds::brief()).await?;
        self.leave(room, &what).await?;
        let all = parse_refs(&String::from_utf8_lossy(&answer));
        let wanted = |name: &str| {
            names
                .iter()
                .any(|n| n == name || n.strip_suffix('*').is_some_and(|start| name.starts_with(start)))
        };
        Ok(all.into_iter().filter(|r| wanted(&r.name)).collect())
    }

    /// The branch that a clone would begin with.
    pub async fn default_branch(&self) -> Result<Option<String>, GitError> {
        let what = format!("Reading {}", self.address.url());
        let room = self.room(&what).await?;
        let mut command = self.command(&room).await?;
        command.args(["ls-remote", "--quiet", "--symref", "--", &self.address.url(), "HEAD"]);
        let answer = room.run(command, &what, &Bounds::brief()).await?;
        self.leave(room, &what).await?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let branch = text.lines().find_map(|line| line.strip_prefix("ref: refs/heads/")?.split('\t').next());
        Ok(branch.filter(|branch| is_valid_reference(branch)).map(str::to_owned))
    }

    /// The files of the commit that a full name (`refs/heads/main`) leads to now, without its history, with those of
    /// the submodules that `part` has.
    pub async fn fetch(&self, name: &str, sha256: bool, part: Option<&str>) -> Result<Checkout, GitError> {
        let what = format!("Fetching {} of {}", short(name), self.address.url());
        let (room, repository) = self.fetched(name, sha256, FETCH_BYTES, &what).await?;
        Checkout::of(room, &repository, "refs/wanted", &self.ground, Some(self), part).await
    }

    /// A room with a repository in which `refs/wanted` is what a full name or a commit's hash leads to.
    pub(crate) async fn fetched(
        &self,
        wanted: &str,
        sha256: bool,
        bytes: u64,
        what: &str,
    ) -> Result<(Room, PathBuf), GitError> {
        let room = self.room(what).await?;
        let repository = room.path().join("repository.git");
        let mut init = room.git();
        init.args(["init", "--quiet", "--bare", "--template="]);
        init.arg(if sha256 { "--object-format=sha256" } else { "--object-format=sha1" }).arg(&repository);
        room.run(init, what, &Bounds::brief()).await?;
        let mut fetch = self.command(&room).await?;
        fetch.arg("--git-dir").arg(&repository);
        fetch.args(["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--"]);
        fetch.args([self.address.url(), format!("+{wanted}:refs/wanted")]);
        let folder = Some((repository.clone(), bytes.min(FETCH_BYTES)));
        room.run(fetch, what, &Bounds { time: FETCH_TIME, answer: 1 << 20, folder }).await?;
        self.learn(&room).map_err(|error| GitError::here(what, &error))?;
        Ok((room, repository))
    }

    /// A room with what SSH needs.
    async fn room(&self, what: &str) -> Result<Room, GitError> {
        if self.address.scheme != Scheme::Ssh {
            return self.ground.room(what, As::Nobody, &[]).await;
        }
        let room = self.ground.room(what, As::Ourselves, &[]).await?;
        let furnish = || -> io::Result<()> {
            if let Access::Key(key) = &self.access {
                // OpenSSH refuses a key whose last line does not end.
                room.write(KEY, format!("{}\n", key.trim_end()).as_bytes())?;
            }
            let known = match std::fs::read(&self.ground.known_hosts) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                known => known?,
            };
            room.write(KNOWN_HOSTS, &known).map(drop)
        };
        furnish().map_err(|error| GitError::here(what, &error))?;
        Ok(room)
    }

    /// The answer of a command on the host that SSH leads to.
    pub(crate) async fn ssh_command(
        &self,
        program: &str,
        argument: &str,
        what: &str,
    ) -> Result<Vec<u8>, GitError> {
        let room = self.room(what).await?;
        let ssh = self.ssh(room.path(), self.checked().await?);
        let user = self.address.user.as_ref().map_or_else(String::new, |user| format!("{user}@"));
        let (place, port) = (quoted(&format!("{user}{}", self.address.host)), self.address.port);
        // The shell there reads it, too.
        let words =
            quoted(&format!("{program} {} {argument}", quoted(self.address.path.trim_start_matches('/'))));
        let mut shell = command::program("/bin/sh", room.path());
        shell.args(["-c", &format!("exec {ssh} -p {port} {place} {words}")]);
        let answer = room.run(shell, what, &Bounds::brief()).await?;
        self.leave(room, what).await?;
        Ok(answer)
    }

    async fn leave(&self, room: Room, what: &str) -> Result<(), GitError> {
        self.learn(&room).map_err(|error| GitError::here(what, &error))?;
        room.close().await.map(drop)
    }

    /// Keeps the key of this repository's host, where it was seen for the first time: what programs of the room say
    /// of other hosts is not believed.
    fn learn(&self, room: &Room) -> io::Result<()> {
        if self.address.scheme != Scheme::Ssh {
            return Ok(());
        }
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(room.path().join(KNOWN_HOSTS))?;
        let mut text = String::new();
        file.take(KNOWN_BYTES).read_to_string(&mut text)?;
        let known = std::fs::read_to_string(&self.ground.known_hosts).unwrap_or_default();
        let new = |line: &&str| {
            line.split(' ').next() == Some(self.address.host.as_str())
                && !known.lines().any(|old| old == *line)
        };
        let learned: String = text.lines().filter(new).flat_map(|line| [line, "\n"]).collect();
        if learned.is_empty() {
            return Ok(());
        }
        let mut file =
            OpenOptions::new().append(true).create(true).mode(0o600).open(&self.ground.known_hosts)?;
        file.write_all(learned.as_bytes())
    }

    /// A `git` that reaches this repository and no other host.
    async fn command(&self, room: &Room) -> Result<Command, GitError> {
        let address = self.checked().await?;
        let mut command = room.git();
        if self.address.scheme == Scheme::Ssh {
            let ssh = self.ssh(room.path(), address);
            command.env("GIT_SSH_VARIANT", "ssh").env("GIT_SSH_COMMAND", ssh);
            return Ok(command);
        }
        let (host, port) = (&self.address.host, self.address.port);
        if host.parse::<IpAddr>().is_err() {
            command::settings(&mut command, [("http.curloptResolve", format!("{host}:{port}:{address}"))]);
        }
        if let Access::Token { user, token } = &self.access {
            let basic = STANDARD.encode(format!("{user}:{token}"));
            let header = format!("Authorization: Basic {basic}");
            command::settings(&mut command, [("http.extraHeader", header)]);
        }
        Ok(command)
    }

    /// The address to go to: the first of the host's that may be called.
    async fn checked(&self) -> Result<IpAddr, GitError> {
        let host = &self.address.host;
        let all: Vec<IpAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => match tokio::net::lookup_host((host.as_str(), 0)).await {
                Ok(found) => found.map(|address| address.ip()).collect(),
                Err(error) => {
                    return Err(GitError::Failed {
                        what: format!("Reading {}", self.address.url()),
                        said: format!("the name {host} cannot be resolved: {error}"),
                    });
                }
            },
        };
        let refused = all.iter().find_map(|address| Some((address, self.ground.reach.refuses(*address)?)));
        let mut allowed = all.iter().filter(|address| self.ground.reach.refuses(**address).is_none());
        match (allowed.next(), refused) {
            (Some(address), _) => Ok(*address),
            (None, Some((address, kind))) => Err(GitError::Refused(format!(
                "{host} is at {address}, which is {kind}: repositories are read from public addresses only, unless \
                 the server's git_allow_private is true"
            ))),
            (None, None) => Err(GitError::Refused(format!("the name {host} has no address"))),
        }
    }

    /// The command line of SSH, which a shell reads. A host's key is learned at the first visit.
    fn ssh(&self, room: &Path, address: IpAddr) -> String {
        let key = match &self.access {
            Access::Key(_) => room.join(KEY),
            _ => PathBuf::from("/dev/null"),
        };
        let mut words = vec!["ssh".to_owned(), "-F".to_owned(), "/dev/null".to_owned()];
        let mut option = |text: String| words.extend(["-o".to_owned(), text]);
        option("BatchMode=yes".to_owned());
        option("ConnectTimeout=15".to_owned());
        option("StrictHostKeyChecking=accept-new".to_owned());
        option(format!("UserKnownHostsFile=\"{}\"", room.join(KNOWN_HOSTS).display()));
        option(format!("HostName={address}"));
        option(format!("HostKeyAlias={}", self.address.host));
        option("IdentityAgent=none".to_owned());
        option("IdentitiesOnly=yes".to_owned());
        option(format!("IdentityFile=\"{}\"", key.display()));
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// `refs/heads/main` as people say it.
fn short(name: &str) -> &str {
    name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/")).unwrap_or(name)
}

/// The answer of `ls-remote`. A tag that is an object of its own leads to the commit behind it.
fn parse_refs(text: &str) -> Vec<Ref> {
    let mut refs: Vec<Ref> = Vec::new();
    for line in text.lines() {
        let Some((commit, name)) = line.split_once('\t') else { continue };
        let (name, peeled) = name.strip_suffix("^{}").map_or((name, false), |name| (name, true));
        let bare = name.strip_prefix("refs/").and_then(|rest| rest.split_once('/')).map(|(_, bare)| bare);
        if !is_commit_id(commit) || !bare.is_some_and(is_valid_reference) {
            continue;
        }
        match refs.iter_mut().find(|known| known.name == name) {
            Some(known) if peeled => commit.clone_into(&mut known.commit),
            Some(_) => {}
            None => refs.push(Ref { name: name.to_owned(), commit: commit.to_owned() }),
        }
    }
    refs
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use runyard_webhooks::Reach;

    use super::*;

    fn remote(text: &str, access: Access) -> Remote {
        let (address, _) = Address::parse(text).unwrap();
        Remote { address, access, ground: ground(Reach::Public, &std::env::temp_dir()) }
    }

    fn ground(reach: Reach, work: &Path) -> Ground {
        let (work, known_hosts) = (work.to_owned(), work.join("known hosts"));
        Ground { reach, work, known_hosts, keeper: None }
    }

    #[test]
    fn refs_are_read_and_tags_lead_to_their_commits() {
        let (a, b, c) = ("a".repeat(40), "b".repeat(40), "c".repeat(40));
        let text = format!(
            "{a}\trefs/heads/main\n{b}\trefs/tags/v1\n{c}\trefs/tags/v1^{{}}\nnothex\trefs/heads/x\n{a}\trefs/heads/--x\n"
        );
        let refs = parse_refs(&text);
        assert_eq!(
            refs,
            [
                Ref { name: "refs/heads/main".into(), commit: a },
                Ref { name: "refs/tags/v1".into(), commit: c },
            ]
        );
    }

    #[tokio::test]
    async fn private_addresses_are_refused() {
        let error = remote("http://127.0.0.1:9/x", Access::Open).refs(&[]).await.unwrap_err();
        assert!(error.to_string().contains("127.0.0.1, which is loopback"), "{error}");
        let error = remote("git@localhost:x/y", Access::Open).refs(&[]).await.unwrap_err();
        assert!(error.to_string().contains("git_allow_private"), "{error}");
    }

    #[tokio::test]
    async fn secrets_stand_in_no_argument_and_no_debug_text() {
        let access = Access::Token { user: "me".into(), token: "hush".into() };
        let work = tempfile::tempdir().unwrap();
        let it =
            Remote { ground: ground(Reach::Anywhere, work.path()), ..remote("http://127.0.0.1:9/x", access) };
        let room = it.room("Testing").await.unwrap();
        let command = it.command(&room).await.unwrap();
        assert!(command.as_std().get_args().next().is_none());
        assert!(!format!("{it:?}").contains("hush"), "{it:?}");
        let header = format!("Authorization: Basic {}", STANDARD.encode("me:hush"));
        assert!(command.as_std().get_envs().any(|(_, value)| value.is_some_and(|v| *v == *header)));
    }

    #[tokio::test]
    async fn ssh_is_told_everything_and_asks_nothing() {
        let work = tempfile::tempdir().unwrap();
        let ground = ground(Reach::Anywhere, work.path());
        std::fs::write(&ground.known_hosts, "other ssh-ed25519 AAAA\n").unwrap();
        let it = Remote { ground, ..remote("git@127.0.0.1:x/y", Access::Key("KEY".into())) };
        let room = it.room("Testing").await.unwrap();
        let command = it.command(&room).await.unwrap();
        let of = |name: &str| {
            let found = command.as_std().get_envs().find(|(known, _)| *known == name);
            found.and_then(|(_, value)| value).unwrap().to_str().unwrap().to_owned()
        };
        let (ssh, own) = (of("GIT_SSH_COMMAND"), room.path().join("known_hosts"));
        let known = format!("'UserKnownHostsFile=\"{}\"'", own.display());
        assert!(ssh.contains("'BatchMode=yes'") && ssh.contains(&known), "{ssh}");
        assert_eq!(std::fs::read_to_string(room.path().join("key")).unwrap(), "KEY\n");
        // The key of its host is kept, and what is said of another is not.
        let before = std::fs::read_to_string(&own).unwrap();
        assert_eq!(before, "other ssh-ed25519 AAAA\n");
        let learned = format!("{before}127.0.0.1 ssh-ed25519 BBBB\nother ssh-ed25519 EVIL\n");
        std::fs::write(&own, learned).unwrap();
        it.learn(&room).unwrap();
        it.learn(&room).unwrap();
        let kept = std::fs::read_to_string(&it.ground.known_hosts).unwrap();
        assert_eq!(kept, "other ssh-ed25519 AAAA\n127.0.0.1 ssh-ed25519 BBBB\n");
        // A link instead of the file is not followed.
        std::fs::remove_file(&own).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &own).unwrap();
        assert!(it.learn(&room).is_err());
    }
}
