//! Archives that are wrong in every way we know of.

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::Header;

use super::*;

/// An entry: kind, path (written as it is), content.
type Raw<'a> = (EntryType, &'a str, &'a [u8]);

fn archive(entries: &[Raw]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (kind, path, content) in entries {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o4777);
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn outcome(bytes: &[u8], limits: &Limits) -> Result<Unpacked, String> {
    let dir = tempfile::tempdir().unwrap();
    let result = unpack(bytes, &dir.path().join("dest"), limits);
    // A refused archive leaves nothing behind.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), usize::from(result.is_ok()));
    result.map_err(|error| error.to_string())
}

#[track_caller]
fn refused_with(entries: &[Raw], words: &str) {
    let error = outcome(&archive(entries), &Limits::default()).unwrap_err();
    assert!(error.contains(words), "{error}");
}

#[test]
fn escapes_and_odd_entries_are_refused() {
    use EntryType as T;
    refused_with(&[(T::Regular, "/etc/x", b"")], "absolute");
    refused_with(&[(T::Regular, "a/../../x", b"")], "leads out");
    refused_with(&[(T::Directory, "..", b"")], "leads out");
    refused_with(&[(T::Symlink, "a", b"")], "is a link");
    refused_with(&[(T::Link, "a", b"")], "is a link");
    refused_with(&[(T::Fifo, "a", b"")], "a pipe");
    refused_with(&[(T::Char, "a", b"")], "a device");
    refused_with(&[(T::Block, "a", b"")], "a device");
    refused_with(&[(T::GNUSparse, "a", b"")], "of a kind");
    refused_with(&[(T::Regular, "a", b"1"), (T::Regular, "./a", b"2")], "twice");
    refused_with(&[(T::Regular, "a", b"1"), (T::Regular, "a/b", b"2")], "a file and a folder");
    refused_with(&[(T::Regular, "a/b", b"1"), (T::Regular, "a", b"2")], "twice");
    refused_with(&[(T::Regular, "", b"1")], "no name");
    refused_with(&[(T::XHeader, "p", b"16 path=../../x\n"), (T::Regular, "a", b"")], "leads out");
    refused_with(&[(T::XHeader, "p", b"10 size=9\n"), (T::Regular, "a", b"")], "changes the size");
    refused_with(&[(T::XHeader, "p", b"99 path=x\n"), (T::Regular, "a", b"")], "malformed");
    refused_with(&[(T::GNULongName, "l", b"/abs\0"), (T::Regular, "a", b"")], "absolute");
    refused_with(&[(T::GNULongName, "l", &vec![b'x'; 70_000]), (T::Regular, "a", b"")], "too long");
    refused_with(&[(T::GNULongName, "l", &[b'x'; 2000]), (T::Regular, "a", b"")], "longer than 1024");
}

#[test]
fn limits_hold() {
    use EntryType as T;
    let limits = Limits::default();
    let two = archive(&[(T::Regular, "a", &[0; 600]), (T::Regular, "b/c", &[0; 600])]);
    assert!(outcome(&two, &Limits { files: 1, ..limits }).unwrap_err().contains("more than 1 files"));
    assert!(outcome(&two, &Limits { unpacked: 1000, ..limits }).unwrap_err().contains("more than 0 MiB"));
    assert!(outcome(&two, &Limits { packed: 50, ..limits }).unwrap_err().contains("packs to more"));
    assert_eq!(outcome(&two, &limits), Ok(Unpacked { files: 2, size: 1200, existed: false }));
    let zeros = vec![0; 80 * 1024 * 1024];
    let bomb = archive(&[(T::Regular, "a", &zeros)]);
    assert!(outcome(&bomb, &limits).unwrap_err().contains("200 times"));
    assert!(outcome(&bomb, &Limits { ratio: 2000, ..limits }).is_ok());
}

#[test]
fn damage_is_found() {
    let good = archive(&[(EntryType::Regular, "a", b"hello")]);
    let mut flipped = good.clone();
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    for bytes in [&good[..good.len() - 9], &flipped, b"hello", b"".as_slice()] {
        assert!(outcome(bytes, &Limits::default()).unwrap_err().contains("damaged"));
    }
}

#[test]
fn a_folder_appears_whole_and_with_plain_modes() {
    use EntryType as T;
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("dest");
    let bytes = archive(&[
        (T::XGlobalHeader, "g", b"20 comment=from git\n"),
        (T::Directory, "./", b""),
        (T::Directory, "empty/", b""),
        (T::XHeader, "p", "17 path=k/ü.txt\n".as_bytes()),
        (T::Regular, "short", b"text"),
    ]);
    unpack(&bytes[..], &dest, &Limits::default()).unwrap();
    let mode = |name: &str| fs::metadata(dest.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(""), mode("empty"), mode("k/ü.txt")), (0o755, 0o755, 0o755));
    assert_eq!(fs::read_to_string(dest.join("k/ü.txt")).unwrap(), "text");
    assert!(unpack(&b"whatever"[..], &dest, &Limits::default()).unwrap().existed);
}
