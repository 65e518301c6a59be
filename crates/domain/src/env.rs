//! The seam for everything that is not a function of its inputs: clock, ids, randomness. Simulations swap
//! all three at once.

use crate::{BatchId, ConnectionId, EndpointId, JobId, KeyId, MemberId, ResourceId, Timestamp, WorkerId};

/// Clock, ids and randomness in one value.
pub trait Env: Send + Sync + std::fmt::Debug {
    /// The time that decisions and records go by. It never goes back, and never jumps where the wall clock does.
    fn now(&self) -> Timestamp;

    /// The wall clock as it stands: for what others compare with theirs.
    fn wall(&self) -> Timestamp {
        self.now()
    }

    /// The time that passed while the machine was awake, from any beginning: only differences mean something. What
    /// waits for a worker to do something goes by it, because a machine that sleeps does nothing.
    fn awake(&self) -> Timestamp {
        self.now()
    }

    /// Fills `bytes` with randomness fit for secrets.
    fn fill(&self, bytes: &mut [u8]);

    /// `len` characters of lowercase letters and digits (36 symbols, from one random byte each with
    /// rejection, so that every symbol is equally likely).
    fn token(&self, len: usize) -> String {
        const SYMBOLS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut out = String::with_capacity(len);
        let mut buffer = [0u8; 32];
        while out.len() < len {
            self.fill(&mut buffer);
            for byte in buffer {
                if byte < 252 && out.len() < len {
                    out.push(SYMBOLS[usize::from(byte % 36)] as char);
                }
            }
        }
        out
    }

    /// A version 4 UUID as text.
    fn uuid(&self) -> String {
        let mut b = [0u8; 16];
        self.fill(&mut b);
        uuid_of(b)
    }

    /// A job id in RunPod's form; synchronous jobs carry the prefix `sync-`. The UUID in it has 74 random bits, at its
    /// beginning, by which people shorten it; its last 48 are the time in milliseconds, by which a store keeps jobs
    /// together that came together.
    fn job_id(&self, sync: bool) -> JobId {
        let mut b = [0u8; 16];
        self.fill(&mut b[..10]);
        b[10..].copy_from_slice(&self.now().0.to_be_bytes()[2..]);
        let prefix = if sync { "sync-" } else { "" };
        JobId::new(format!("{prefix}{}-u1", uuid_of(b)))
    }

    /// An endpoint id: 14 lowercase letters and digits.
    fn endpoint_id(&self) -> EndpointId {
        EndpointId::new(self.token(14))
    }

    /// A batch id in RunPod's form.
    fn batch_id(&self) -> BatchId {
        BatchId::new(format!("batch_{}", self.token(26)))
    }

    /// The id of a connection with a Git repository. Its webhook is at an address that nobody guesses.
    fn connection_id(&self) -> ConnectionId {
        ConnectionId::new(format!("git_{}", self.token(20)))
    }

    /// The id of a template, a network volume or another record that endpoints share.
    fn resource_id(&self) -> ResourceId {
        ResourceId::new(self.token(10))
    }

    /// A worker id: 14 lowercase letters and digits.
    fn worker_id(&self) -> WorkerId {
        WorkerId::new(self.token(14))
    }

    /// A member's id.
    fn member_id(&self) -> MemberId {
        MemberId::new(self.token(10))
    }

    /// The public part of a key.
    fn key_id(&self) -> KeyId {
        KeyId::new(self.token(10))
    }
}

/// These bytes as a version 4 UUID.
fn uuid_of(mut b: [u8; 16]) -> String {
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex = crate::id::hex(&b);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
