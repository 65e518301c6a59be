//! A block of a segment: a few thousand records of one worker, packed. It begins with a head that says whose they are,
//! from when to when, of which levels, and has the filter of their text and jobs, so that a search reads of most blocks
//! nothing else. Checksums tell a block that was torn or damaged.
//!
//! ```text
//! magic  head  filter  packed  checksum of all that  checksum of the packed     4 bytes each, little endian
//! head (JSON), filter (bits), packed (zstd of: jobs and marks of the records, their texts, their exact bytes)
//! ```

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;

use runyard_domain::{EndpointId, Timestamp, WorkerId};
use serde::{Deserialize, Serialize};
use zstd::bulk::Decompressor;

use crate::body::{self, Body, Mark};
use crate::filter::{self, Filter};
use crate::{Level, Record, Source};

/// What every block begins with.
pub(crate) const MAGIC: [u8; 4] = *b"RYL1";
/// Magic, three lengths and two checksums.
const PREFIX: usize = 24;
/// The longest head: a few ids and numbers.
const MAX_HEAD: u32 = 4_096;
/// The longest packed part, and what it may become.
const MAX_BODY: u32 = 64 << 20;
/// The fastest level: it packs logs as small as the next ones do.
const ZSTD_LEVEL: i32 = 1;

/// What the head says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) endpoint: EndpointId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<WorkerId>,
    pub(crate) release: u32,
    /// Numbers of the first and the last record.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) count: u32,
    /// The earliest and the latest time.
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// The gravest level; records without one count as `info`.
    pub(crate) gravest: Level,
    /// A bit for each source.
    pub(crate) sources: u8,
    /// Records of each level, least grave first; blocks of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) levels: Option<[u32; 4]>,
    /// Bytes of the marks, of the texts, and of the exact bytes, unpacked.
    pub(crate) marks: u32,
    pub(crate) texts: u32,
    pub(crate) raws: u32,
}

impl Facts {
    /// Whether records of this source are inside.
    pub(crate) fn has(&self, source: Source) -> bool {
        self.sources & 1 << body::source_number(source) != 0
    }

    /// Whether records of no other source are inside.
    pub(crate) fn has_only(&self, source: Source) -> bool {
        self.sources == 1 << body::source_number(source)
    }

    /// What it takes unpacked.
    pub(crate) fn size(&self) -> u64 {
        u64::from(self.marks) + u64::from(self.texts) + u64::from(self.raws)
    }
}

/// A block in a file, of which the head was read.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) facts: Facts,
    pub(crate) filter: Filter,
    begin: u64,
    /// Where its packed part lies, and how long it is.
    at: u64,
    packed: u32,
    check: u32,
}

impl Head {
    /// What it takes besides its records, in bytes.
    pub(crate) fn overhead(&self) -> u64 {
        self.at - self.begin
    }

    /// Where the next block begins.
    pub(crate) fn end(&self) -> u64 {
        self.at + u64::from(self.packed)
    }

    /// Reads what is packed; none where it is damaged.
    fn packed<'a>(&self, file: &File, into: &'a mut Vec<u8>) -> io::Result<Option<&'a [u8]>> {
        into.resize(self.packed as usize, 0);
        file.read_exact_at(into, self.at)?;
        Ok((crc32fast::hash(into) == self.check).then_some(into))
    }

    /// Reads and unpacks what is known of the records without their texts, which stand behind it and are not unpacked;
    /// none where it is damaged.
    pub(crate) fn marks(&self, file: &File) -> io::Result<Option<Vec<Mark>>> {
        let mut packed = Vec::new();
        let Some(packed) = self.packed(file, &mut packed)? else { return Ok(None) };
        let mut marks = vec![0; self.facts.marks as usize];
        let unpacked = zstd::stream::read::Decoder::with_buffer(packed);
        if unpacked.and_then(|mut from| from.read_exact(&mut marks)).is_err() {
            return Ok(None);
        }
        let sizes = [self.facts.texts as usize, self.facts.raws as usize];
        Ok(body::marks(&marks, sizes, |_| true).map(|(_, marks)| marks))
    }

    /// Reads and unpacks the records; none where they are damaged.
    pub(crate) fn body(&self, file: &File, room: &mut Room) -> io::Result<Option<Body>> {
        let Some(packed) = self.packed(file, &mut room.packed)? else { return Ok(None) };
        let (mut data, texts) = std::mem::take(&mut room.body).into_parts();
        data.clear();
        data.reserve(self.facts.size() as usize);
        let unpacker = match &mut room.unpacker {
            Some(unpacker) => unpacker,
            none => none.insert(Decompressor::new()?),
        };
        if unpacker.decompress_to_buffer(packed, &mut data).is_err() {
            return Ok(None);
        }
        Ok(Body::parse(data, &self.facts, texts))
    }
}

/// Memory that one block after the other is unpacked in: asking the kernel for it anew costs as much as unpacking.
#[derive(Default)]
pub(crate) struct Room {
    packed: Vec<u8>,
    unpacker: Option<Decompressor<'static>>,
    /// One that is over.
    pub(crate) body: Body,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

/// The head of the block that begins at `at`, where a whole one ends before `end`.
pub(crate) fn head(file: &File, at: u64, end: u64) -> io::Result<Option<Head>> {
    if end.saturating_sub(at) < PREFIX as u64 {
        return Ok(None);
    }
    let mut prefix = [0; PREFIX];
    file.read_exact_at(&mut prefix, at)?;
    let word = |n: usize| prefix.as_chunks::<4>().0.get(n).map_or(0, |word| u32::from_le_bytes(*word));
    let (head_len, filter_len, packed) = (word(1), word(2), word(3));
    let fits = head_len <= MAX_HEAD && filter_len as usize <= filter::MAX_BYTES && packed <= MAX_BODY;
    let payload = at + PREFIX as u64 + u64::from(head_len) + u64::from(filter_len);
    if prefix[..4] != MAGIC || !fits || payload + u64::from(packed) > end {
        return Ok(None);
    }
    let mut rest = vec![0; (head_len + filter_len) as usize];
    file.read_exact_at(&mut rest, at + PREFIX as u64)?;
    if head_check(&prefix[..16], word(5), &rest) != word(4) {
        return Ok(None);
    }
    let (text, bits) = rest.split_at(head_len as usize);
    let facts =
        serde_json::from_slice::<Facts>(text).ok().filter(|facts| facts.size() <= u64::from(MAX_BODY));
    let (Some(facts), Some(filter)) = (facts, Filter::parse(bits)) else { return Ok(None) };
    Ok(Some(Head { facts, filter, begin: at, at: payload, packed, check: word(5) }))
}

fn head_check(lengths: &[u8], packed: u32, rest: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(lengths);
    hash.update(&packed.to_le_bytes());
    hash.update(rest);
    hash.finalize()
}

/// Packs these records, which are of one origin, in their order. None makes no block.
pub(crate) fn pack(records: &[Record]) -> io::Result<Option<Vec<u8>>> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(None) };
    let mut filter = Filter::new();
    let parts = body::encode(records, &mut filter);
    let times = || records.iter().map(|record| record.at);
    let facts = Facts {
        endpoint: first.endpoint.clone(),
        worker: first.worker.clone(),
        release: first.release,
        first: first.seq,
        last: last.seq,
        count: records.len() as u32,
        from: times().min().unwrap_or(first.at),
        to: times().max().unwrap_or(last.at),
        gravest: records.iter().map(Record::gravity).max().unwrap_or(Level::Info),
        sources: records.iter().fold(0, |all, record| all | 1 << body::source_number(record.source)),
        levels: Some(levels(records)),
        marks: parts.marks.len() as u32,
        texts: parts.texts.len() as u32,
        raws: parts.raws.len() as u32,
    };
    let body = [parts.marks, parts.texts.into_bytes(), parts.raws].concat();
    let packed = zstd::bulk::compress(&body, ZSTD_LEVEL)?;
    let (head, bits) = (serde_json::to_vec(&facts)?, filter.folded().bytes());
    if head.len() > MAX_HEAD as usize || facts.size() > u64::from(MAX_BODY) {
        return Err(io::Error::other("records are too large for a block"));
    }
    let mut block = MAGIC.to_vec();
    for length in [head.len(), bits.len(), packed.len()] {
        block.extend_from_slice(&(length as u32).to_le_bytes());
    }
    let rest = [head, bits].concat();
    let check = crc32fast::hash(&packed);
    block.extend_from_slice(&head_check(&block, check, &rest).to_le_bytes());
    block.extend_from_slice(&check.to_le_bytes());
    block.extend_from_slice(&rest);
    block.extend_from_slice(&packed);
    Ok(Some(block))
}

fn levels(records: &[Record]) -> [u32; 4] {
    let mut levels = [0; 4];
    for record in records {
        levels[record.gravity() as usize] += 1;
    }
    levels
}
