//! The small filter of a block: a set of bits that says of a text or a job that the block cannot hold it. Every three
//! bytes that stand together in a line set a bit, letters' case aside; every job sets three. A filter may be wrong in
//! one direction only: what it denies is not there.

/// Bits of a filter before it is folded, as a power of two: 32 KiB.
const MOST: u32 = 18;
/// A filter is not folded below so many.
const LEAST: u32 = 9;
/// Of so many bits at most one may be set after folding.
const SPARSE: usize = 4;

/// Where a key has its bit, in a filter of the full size.
pub(crate) type Key = u32;

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    words: Vec<u64>,
}

impl Filter {
    /// An empty one of the full size.
    pub(crate) fn new() -> Self {
        Self { words: vec![0; (1 << MOST) / 64] }
    }

    /// Notes every three bytes of a line.
    pub(crate) fn add_text(&mut self, text: &str) {
        let mut last = 0;
        for (at, byte) in text.bytes().enumerate() {
            last = (last << 8 | u32::from(byte.to_ascii_lowercase())) & 0xff_ffff;
            if at >= 2 {
                self.set(trigram(last));
            }
        }
    }

    /// Notes a job.
    pub(crate) fn add_job(&mut self, id: &str) {
        for key in job(id) {
            self.set(key);
        }
    }

    fn set(&mut self, key: Key) {
        self.words[key as usize / 64] |= 1 << (key % 64);
    }

    /// Half as large as often as it stays sparse.
    pub(crate) fn folded(mut self) -> Self {
        while self.words.len() * 64 > 1 << LEAST {
            let (low, high) = self.words.split_at(self.words.len() / 2);
            let half: Vec<u64> = low.iter().zip(high).map(|(low, high)| low | high).collect();
            let set: usize = half.iter().map(|word| word.count_ones() as usize).sum();
            if set * SPARSE > half.len() * 64 {
                break;
            }
            self.words = half;
        }
        self
    }

    /// Whether everything with these keys may be there.
    pub(crate) fn may_hold(&self, keys: &[Key]) -> bool {
        let mask = (self.words.len() * 64 - 1) as u32;
        keys.iter().all(|key| self.words[((key & mask) / 64) as usize] >> (key % 64) & 1 == 1)
    }

    /// Its bytes in a file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The filter of these bytes, where they can be one's.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bits = bytes.len().checked_mul(8)?;
        if !bits.is_power_of_two() || !(1 << LEAST..=1 << MOST).contains(&bits) {
            return None;
        }
        let (words, _) = bytes.as_chunks::<8>();
        Some(Self { words: words.iter().map(|word| u64::from_le_bytes(*word)).collect() })
    }
}

/// The largest filter, in bytes.
pub(crate) const MAX_BYTES: usize = (1 << MOST) / 8;

fn trigram(bytes: u32) -> Key {
    bytes.wrapping_mul(0x9e37_79b1) >> (32 - MOST)
}

/// The keys of a job.
pub(crate) fn job(id: &str) -> [Key; 3] {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    [10, 28, 46].map(|shift| (hash >> shift) as u32 & ((1 << MOST) - 1))
}

/// The keys of a text that is looked for without regard to case. Where it has letters beyond ASCII, only those bytes
/// count that no other case of a letter can stand for.
pub(crate) fn text(text: &str) -> Vec<Key> {
    let plain = text.is_ascii();
    let bytes: Vec<u8> = text.bytes().map(|byte| byte.to_ascii_lowercase()).collect();
    // `k` and `s` have another case beyond ASCII: the Kelvin sign and the long s.
    let counts = |window: &&[u8]| plain || window.iter().all(|b| b.is_ascii() && !matches!(b, b'k' | b's'));
    let key = |window: &[u8]| {
        trigram(u32::from(window[0]) << 16 | u32::from(window[1]) << 8 | u32::from(window[2]))
    };
    bytes.windows(3).filter(counts).map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_never_denied() {
        let mut filter = Filter::new();
        let lines: Vec<String> = (0..2_000).map(|n| format!("Request {n} of JOB-{} Ärger", n * 7)).collect();
        for line in &lines {
            filter.add_text(line);
        }
        filter.add_job("j-1");
        let filter = filter.folded();
        assert!(filter.bytes().len() < MAX_BYTES, "it was folded");
        let back = Filter::parse(&filter.bytes()).expect("its own bytes");
        assert_eq!(back, filter);
        for line in &lines {
            assert!(back.may_hold(&text(line)) && back.may_hold(&text(&line.to_uppercase())));
        }
        assert!(back.may_hold(&job("j-1")));
        let absent = (0..1_000).filter(|n| back.may_hold(&text(&format!("needle+{n}+of+hay")))).count();
        assert!(absent < 10, "{absent} of 1000 texts that are not there");
        let jobs = (0..1_000).filter(|n| back.may_hold(&job(&format!("k-{n}")))).count();
        assert!(jobs < 100, "{jobs} of 1000 jobs that are not there");
    }

    #[test]
    fn odd_bytes_are_no_filter() {
        for len in [0, 1, 63, 96, MAX_BYTES * 2] {
            assert_eq!(Filter::parse(&vec![0; len]), None, "{len}");
        }
    }
}
