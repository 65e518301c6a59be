//! Who owns a folder with all that is in it. While an environment is built it belongs to the user that builds;
//! then it is ours, and nobody else can write to it. Everything is reached through open folders, never through
//! a path: what was built may hold links to anywhere.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::process::{Gid, Uid};

/// Folders nested deeper than this are nobody's package.
const DEEPEST: usize = 100;

/// Gives a folder to a user.
pub fn give(dir: &Path, uid: u32) -> io::Result<()> {
    walk(&open(rustix::fs::CWD, dir)?, &Wanted { uid: Uid::from_raw(uid), gid: Gid::from_raw(uid) }, DEEPEST)
}

/// Takes a folder back: ours, readable by all, writable by nobody else.
pub fn take_back(dir: &Path) -> io::Result<()> {
    let wanted = Wanted { uid: rustix::process::geteuid(), gid: rustix::process::getegid() };
    walk(&open(rustix::fs::CWD, dir)?, &wanted, DEEPEST)
}

struct Wanted {
    uid: Uid,
    gid: Gid,
}

fn open(above: impl AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(above, name, flags, Mode::empty())?)
}

fn walk(folder: &OwnedFd, wanted: &Wanted, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::other("folders are nested too deep"));
    }
    // First itself: then nobody changes what is in it meanwhile.
    rustix::fs::fchown(folder, Some(wanted.uid), Some(wanted.gid))?;
    rustix::fs::fchmod(folder, Mode::from_raw_mode(0o755))?;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => walk(&open(folder, name)?, wanted, depth - 1)?,
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
                rustix::fs::fchown(&file, Some(wanted.uid), Some(wanted.gid))?;
                let mode = if stat.st_mode & 0o100 == 0 { 0o644 } else { 0o755 };
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            }
            FileType::Symlink => {
                rustix::fs::chownat(
                    folder,
                    name,
                    Some(wanted.uid),
                    Some(wanted.gid),
                    AtFlags::SYMLINK_NOFOLLOW,
                )?;
            }
            // Pipes, sockets: no package has them.
            _ => rustix::fs::unlinkat(folder, name, AtFlags::empty())?,
        }
    }
    Ok(())
}
