//! Lines of a file from its end to its start: the newest records come first, and a search that has found
//! enough stops early.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 64 * 1024;

/// Whole lines before a given end, last first. What follows the last line feed is not a whole line.
#[derive(Debug)]
pub struct ReverseLines {
    file: File,
    /// Where the block in memory starts.
    start: u64,
    /// What is read and not given out yet.
    block: Vec<u8>,
    /// Whether the tail without a line feed was skipped.
    trimmed: bool,
}

impl ReverseLines {
    /// Lines of `file` before `end`.
    pub fn new(file: File, end: u64) -> Self {
        Self { file, start: end, block: Vec::new(), trimmed: false }
    }

    /// The line before the ones given out so far, without its line feed.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        while !self.trimmed {
            match self.block.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => {
                    self.block.truncate(at);
                    self.trimmed = true;
                }
                // Nothing but a torn line so far: it is of no use.
                None if self.start == 0 => return Ok(None),
                None => {
                    self.block.clear();
                    self.more()?;
                }
            }
        }
        let mut searched = self.block.len();
        loop {
            if let Some(at) = self.block[..searched].iter().rposition(|byte| *byte == b'\n') {
                let line = self.block.split_off(at + 1);
                self.block.truncate(at);
                return Ok(Some(line));
            }
            if self.start == 0 {
                if self.block.is_empty() {
                    return Ok(None);
                }
                return Ok(Some(std::mem::take(&mut self.block)));
            }
            searched = self.more()?;
        }
    }

    /// Puts the block before the one in memory in front of it; answers its length.
    fn more(&mut self) -> io::Result<usize> {
        let len = self.start.min(BLOCK.max(self.block.len() as u64));
        let mut block = vec![0; len as usize];
        self.file.read_exact_at(&mut block, self.start - len)?;
        block.append(&mut self.block);
        self.block = block;
        self.start -= len;
        Ok(len as usize)
    }
}
