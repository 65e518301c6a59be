//! What comes with Git: addresses that users write, messages and lists of forges, and what lies in a repository: its
//! description, its submodules, the pointers of Git LFS.

use std::fs;

use http::{HeaderMap, HeaderValue};
use runyard_domain::git::{is_commit_id, is_inner_path, is_valid_reference};
use runyard_git::hook::{self, Event};
use runyard_git::lfs::Pointer;
use runyard_git::{Address, pulls, submodules};

use crate::{text, two};

/// An address that is taken apart is the same when it is put together again, and no program takes it, or a part of
/// it, for an option.
pub fn address(data: &[u8]) {
    let Ok((address, _)) = Address::parse(&text(data)) else { return };
    let url = address.url();
    let (again, none) = Address::parse(&url).unwrap_or_else(|error| panic!("{url}: {error}"));
    assert_eq!((&again, none), (&address, None), "{url}");
    let starts = ["http://", "https://", "ssh://"].iter().any(|scheme| url.starts_with(scheme));
    assert!(starts && (!url.contains("::") || address.host.contains(':')), "{url}");
    assert!(!address.host.starts_with('-') && !address.host.contains(['@', '/', ' ']), "{url}");
    assert!(!url.chars().any(char::is_control), "{url:?}");
}

/// A message names branches and commits that Git could have, or is about something else. The first line is the kind
/// of event, the rest is the body.
pub fn hook(data: &[u8]) {
    let (kind, body) = two(data);
    let mut headers = HeaderMap::new();
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        headers.insert("x-github-event", kind);
    }
    assert!(
        hook::verify(&headers, body.as_bytes(), "a secret of sixteen").is_err(),
        "nothing here is signed"
    );
    match hook::read(&headers, body.as_bytes()) {
        Ok(Event::Push { reference, commit }) => {
            let bare = reference.strip_prefix("refs/heads/").or_else(|| reference.strip_prefix("refs/tags/"));
            assert!(bare.is_some_and(is_valid_reference), "{reference}");
            assert!(commit.is_none_or(|commit| is_commit_id(&commit.id)));
        }
        Ok(Event::Release { tag }) => assert!(is_valid_reference(&tag), "{tag}"),
        Ok(Event::Pull(pull)) => {
            assert!(
                is_valid_reference(&pull.branch)
                    && is_valid_reference(&pull.base)
                    && is_commit_id(&pull.commit)
            );
        }
        Ok(Event::Ping | Event::Other(_)) => {}
        Err(words) => assert!(!words.is_empty()),
    }
}

/// A description is read or refused; what it requires is missing until it is there.
pub fn hub(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join(".runpod")).expect("a folder");
    fs::write(dir.path().join(".runpod/hub.json"), data).expect("written");
    match runyard_build::hub::hub_of(dir.path()) {
        Ok(Some(hub)) => {
            let mut env = hub.defaults().collect();
            while let Some(name) = hub.missing(&env).map(str::to_owned) {
                assert_eq!(env.insert(name, String::new()), None, "it was there");
            }
        }
        Ok(None) => panic!("the file is there"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A list of pull requests names open ones with branches and commits that Git could have, or is refused.
pub fn pulls(data: &[u8]) {
    for gitlab in [false, true] {
        match pulls::read(data, gitlab) {
            Ok(page) => {
                assert!(page.pulls.len() <= page.count);
                for pull in page.pulls {
                    assert!(
                        !pull.closed && is_valid_reference(&pull.branch) && is_valid_reference(&pull.base)
                    );
                    assert!(is_commit_id(&pull.commit));
                }
            }
            Err(words) => assert!(!words.is_empty()),
        }
    }
    let _ = pulls::is_open(data);
}

/// Submodules lie inside of the repository, each in a place of its own.
pub fn modules(data: &[u8]) {
    let Ok(found) = submodules::parse(&text(data)) else { return };
    for (at, (path, _)) in found.iter().enumerate() {
        assert!(is_inner_path(path), "{path:?}");
        assert!(found[..at].iter().all(|(other, _)| other != path), "{path:?} twice");
    }
}

/// A pointer names a hash that no path or address can be hidden in.
pub fn lfs(data: &[u8]) {
    let Some(pointer) = Pointer::parse(data) else { return };
    assert!(pointer.oid.len() == 64 && pointer.oid.bytes().all(|b| b.is_ascii_hexdigit()), "{}", pointer.oid);
}
