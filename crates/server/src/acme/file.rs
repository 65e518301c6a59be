//! What is kept of an authority: one file with certificate and key, so that neither is ever there without the other,
//! and in front of them a line about whose they are (PEM allows text before its blocks); and the account's file.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use runyard_listener::{Tls, TlsError};
use serde::{Deserialize, Serialize};

use crate::config::Acme;

/// What the line about a certificate begins with.
const MARK: &str = "runyard-acme ";

/// Where that line ends at the latest, in bytes.
const LONGEST_NOTE: u64 = 64 << 10;

/// Certificates and their key in PEM.
pub struct Certificate {
    /// Both, one after the other.
    pub pem: String,
    /// Whose they are; `None` where no authority vouches for them.
    pub note: Option<Note>,
}

/// Who gave a certificate, when and for what.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    domains: Vec<String>,
    directory: String,
    /// In seconds since the Unix epoch.
    pub since: i64,
}

impl Note {
    /// About what is asked for now.
    pub fn new(acme: &Acme, since: i64) -> Self {
        Self { domains: acme.domains.clone(), directory: acme.directory.clone(), since }
    }

    /// Whether it is what would be asked for now.
    pub fn is_for(&self, acme: &Acme) -> bool {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names
        };
        self.directory == acme.directory && sorted(&self.domains) == sorted(&acme.domains)
    }
}

/// The file of certificate and key.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("certificate.pem")
}

/// The file of the account.
pub fn account(folder: &Path) -> PathBuf {
    folder.join("account.json")
}

/// What is known of the certificate that is there.
pub fn note(folder: &Path) -> Option<Note> {
    let mut text = String::new();
    fs::File::open(path(folder)).ok()?.take(LONGEST_NOTE).read_to_string(&mut text).ok()?;
    serde_json::from_str(text.lines().next()?.strip_prefix(MARK)?).ok()
}

/// A certificate for `names` that nobody vouches for.
pub fn unvouched(names: &[String]) -> Result<Certificate, rcgen::Error> {
    let made = rcgen::generate_simple_self_signed(names)?;
    Ok(Certificate { pem: made.cert.pem() + &made.signing_key.serialize_pem(), note: None })
}

/// Whether it can be used at all.
pub fn check(folder: &Path, certificate: &Certificate) -> Result<(), TlsError> {
    let trial = folder.join("trial.pem");
    let put = put(&trial, certificate.pem.as_bytes());
    let judged = put.map_err(|source| TlsError::File { path: trial.clone(), source });
    let judged = judged.and_then(|()| Tls::load(&trial, &trial));
    // It is written anew each time.
    let _ = fs::remove_file(&trial);
    judged.map(drop)
}

/// Puts it in the place of the one before, whole or not at all.
pub fn write(folder: &Path, certificate: &Certificate) -> io::Result<()> {
    let mut text = String::new();
    if let Some(note) = &certificate.note {
        text = format!("{MARK}{}\n", serde_json::to_string(note)?);
    }
    text += &certificate.pem;
    replace(folder, &path(folder), text.as_bytes())
}

/// Puts `bytes` in the place of a file of `folder`, readable for its owner alone.
pub fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    put(&new, bytes)?;
    fs::rename(&new, path)?;
    fs::File::open(folder)?.sync_all()
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme(domains: &[&str]) -> Acme {
        let domains = domains.iter().map(|&name| name.to_owned()).collect();
        Acme { domains, email: None, directory: "https://ca.example.org/directory".to_owned() }
    }

    #[test]
    fn a_certificate_is_kept_with_what_it_is_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let wanted = acme(&["a.example.org", "b.example.org"]);
        let mut certificate = unvouched(&wanted.domains).expect("made");
        certificate.note = Some(Note::new(&wanted, 7));
        check(dir.path(), &certificate).expect("usable");
        write(dir.path(), &certificate).expect("written");
        let note = note(dir.path()).expect("kept");
        assert_eq!(note.since, 7);
        assert!(note.is_for(&wanted) && note.is_for(&acme(&["b.example.org", "a.example.org"])));
        assert!(!note.is_for(&acme(&["a.example.org"])));
        Tls::load(&path(dir.path()), &path(dir.path())).expect("the line before it does no harm");
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 1, "nothing else is left");
    }

    #[test]
    fn what_cannot_be_used_does_not_get_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let certificate = Certificate { pem: "no certificate".to_owned(), note: None };
        check(dir.path(), &certificate).expect_err("unusable");
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 0);
    }
}
