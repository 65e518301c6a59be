//! A segment: blocks one after another in a file. It is only ever appended to, and read from head to head; what a crash
//! left torn at its end is found by its checksum, left out by readers, and cut off by whoever appends next.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::block::{self, Head, MAGIC};
use crate::names::{self, Kind};

/// A segment takes no more blocks when it has so many bytes: retention removes whole segments.
const FULL: u64 = 16 << 20;

/// Heads of a segment, in their order.
#[derive(Debug)]
pub(crate) struct Heads<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    /// Where the last whole block ended.
    whole: u64,
}

impl<'a> Heads<'a> {
    /// The heads of this file as it is now.
    pub(crate) fn of(file: &'a File) -> io::Result<Self> {
        Ok(Self { file, at: 0, end: file.metadata()?.len(), whole: 0 })
    }

    /// The next one. What lies damaged between two blocks is passed over.
    pub(crate) fn next(&mut self) -> io::Result<Option<Head>> {
        while self.at < self.end {
            if let Some(head) = block::head(self.file, self.at, self.end)? {
                self.at = head.end();
                self.whole = self.at;
                return Ok(Some(head));
            }
            self.at = self.next_magic()?;
        }
        Ok(None)
    }

    /// Where the next block may begin.
    fn next_magic(&self) -> io::Result<u64> {
        let mut from = self.at + 1;
        let mut bytes = vec![0; 64 * 1024];
        while from < self.end {
            let len = ((self.end - from) as usize).min(bytes.len());
            self.file.read_exact_at(&mut bytes[..len], from)?;
            if let Some(at) = bytes[..len].windows(MAGIC.len()).position(|window| window == MAGIC) {
                return Ok(from + at as u64);
            }
            // One that begins at the end of these bytes is found with the next ones.
            from += if len < bytes.len() { len } else { len - MAGIC.len() + 1 } as u64;
        }
        Ok(self.end)
    }
}

/// The number of the last record that is packed of a stem; 0 where there is none.
pub(crate) fn last_packed(dir: &Path, stem: &str, segments: &[u64]) -> io::Result<u64> {
    for first in segments.iter().rev() {
        let file = match File::open(names::path(dir, stem, Kind::Segment(*first))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let (mut heads, mut last) = (Heads::of(&file)?, 0);
        while let Some(head) = heads.next()? {
            last = head.facts.last;
        }
        if last > 0 {
            return Ok(last);
        }
    }
    Ok(0)
}

/// Appends blocks to the segments of one stem.
#[derive(Debug)]
pub(crate) struct Appender<'a> {
    dir: &'a Path,
    stem: &'a str,
    open: Option<(File, u64)>,
}

impl<'a> Appender<'a> {
    /// Goes on with the newest of these segments, if there is room in it.
    pub(crate) fn new(dir: &'a Path, stem: &'a str, segments: &[u64]) -> io::Result<Self> {
        let mut this = Self { dir, stem, open: None };
        let Some(newest) = segments.last() else { return Ok(this) };
        let path = names::path(dir, stem, Kind::Segment(*newest));
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        let mut heads = Heads::of(&file)?;
        while heads.next()?.is_some() {}
        let (whole, end) = (heads.whole, heads.end);
        if whole < end {
            file.set_len(whole)?;
        }
        if whole < FULL {
            this.open = Some((file, whole));
        }
        Ok(this)
    }

    /// Appends a block whose first record has this number.
    pub(crate) fn append(&mut self, first: u64, block: &[u8]) -> io::Result<()> {
        let (mut file, len) = if let Some(open) = self.open.take() {
            open
        } else {
            let path = names::path(self.dir, self.stem, Kind::Segment(first));
            (OpenOptions::new().read(true).append(true).create(true).open(path)?, 0)
        };
        if let Err(error) = file.write_all(block) {
            // Half a block would be passed over; it must not take space either.
            let _ = file.set_len(len);
            self.open = Some((file, len));
            return Err(error);
        }
        let len = len + block.len() as u64;
        if len >= FULL {
            return file.sync_data();
        }
        self.open = Some((file, len));
        Ok(())
    }

    /// Has everything on the disk.
    pub(crate) fn sync(self) -> io::Result<()> {
        self.open.map_or(Ok(()), |(file, _)| file.sync_data())
    }
}
