//! Keys, tokens and secrets at rest. This room makes every [`Caller`]; whoever changes something takes one
//! as an argument, so an unchecked call does not compile.
//!
//! - [`Vault::key_caller`] opens with an API key, [`Vault::worker_caller`] with a worker's token.
//! - [`Signer`] signs outgoing webhooks.
//! - [`Vault::seal`] and [`Vault::unseal`] keep secrets (`s3Config`) unreadable in the data directory.

mod caller;
mod seal;
mod signing;

pub use caller::{Caller, Denied, OWNER, WorkerCaller};
pub use seal::{SealError, Sealer};
pub use signing::Signer;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use runyard_domain::{Access, EndpointId, Env, KeyId, KeyRecord, Rates, Timestamp, WorkerId, WorkerRecord};
use sha2::{Digest, Sha256};

/// What API keys start with.
pub const KEY_PREFIX: &str = "ry_";

/// The keeper of keys, tokens and the sealing key.
#[derive(Debug)]
pub struct Vault {
    env: Arc<dyn Env>,
    sealer: Sealer,
    signer: OnceLock<Signer>,
    keys: RwLock<HashMap<String, KeyRecord>>,
    workers: RwLock<HashMap<String, WorkerCaller>>,
}

/// What a new key shall open.
#[derive(Debug, Clone)]
pub struct KeyRequest {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub access: Access,
    /// The endpoints it is restricted to; empty means all.
    pub endpoints: Vec<EndpointId>,
    /// After this it opens nothing.
    pub expires_at: Option<Timestamp>,
}

impl Vault {
    /// A vault that knows these keys.
    pub fn new(env: Arc<dyn Env>, sealer: Sealer, records: Vec<KeyRecord>) -> Self {
        let keys = records.into_iter().map(|record| (record.hash.clone(), record)).collect();
        Self { env, sealer, signer: OnceLock::new(), keys: RwLock::new(keys), workers: RwLock::default() }
    }

    /// Makes a key: its record, to be committed and then [`learn`](Self::learn)ed, and the key itself, to be
    /// shown once.
    pub fn make_key(&self, request: KeyRequest) -> (KeyRecord, String) {
        let key = format!("{KEY_PREFIX}{}", self.env.token(37));
        (self.record_of(&key, request), key)
    }

    /// The record of a key that was made elsewhere (`RUNYARD_API_KEY`).
    pub fn record_of(&self, key: &str, request: KeyRequest) -> KeyRecord {
        KeyRecord {
            id: self.env.key_id(),
            name: request.name,
            hash: hash(key),
            access: request.access,
            endpoints: request.endpoints,
            created_at: self.env.now(),
            expires_at: request.expires_at,
            revoked_at: None,
            rates: Rates::default(),
        }
    }

    /// Takes up a new or changed record.
    pub fn learn(&self, record: KeyRecord) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(record.hash.clone(), record);
    }

    /// A key's record by its public part.
    pub fn key(&self, id: &KeyId) -> Option<KeyRecord> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.values().find(|record| record.id == *id).cloned()
    }

    /// Whether this text is a key that opens something now.
    pub fn knows(&self, key: &str) -> bool {
        self.key_caller(key).is_ok()
    }

    /// Who sends this `Authorization` value: a key with or without `Bearer`.
    pub fn key_caller(&self, authorization: &str) -> Result<Caller, Denied> {
        let key = match authorization.split_once(' ') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
            _ => authorization.trim(),
        };
        if key.is_empty() {
            return Err(Denied::NoKey);
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let record = keys.get(&hash(key)).ok_or(Denied::UnknownKey)?;
        if record.revoked_at.is_some() {
            return Err(Denied::Revoked);
        }
        if record.expires_at.is_some_and(|at| at <= self.env.now()) {
            return Err(Denied::Expired);
        }
        Ok(Caller::key(record))
    }

    /// The owner of the data directory: this very process, or a call on loopback to a job API without keys.
    pub fn local_caller(&self) -> Caller {
        Caller::local()
    }

    /// What deploys commits of repositories that were connected, by somebody who may deploy.
    pub fn git_caller(&self) -> Caller {
        Caller::git()
    }

    /// A token for a new incarnation and its hash for the record.
    pub fn make_token(&self) -> (String, String) {
        let token = self.env.token(32);
        let hashed = hash(&token);
        (token, hashed)
    }

    /// Lets the token of this incarnation open its routes.
    pub fn admit_worker(&self, record: &WorkerRecord) {
        let caller = WorkerCaller::of(record);
        let mut workers = self.workers.write().unwrap_or_else(PoisonError::into_inner);
        workers.insert(record.token_hash.clone(), caller);
    }

    /// From now on the token of this incarnation opens nothing.
    pub fn dismiss_worker(&self, token_hash: &str) {
        self.workers.write().unwrap_or_else(PoisonError::into_inner).remove(token_hash);
    }

    /// The hash of every token that opens something, with its incarnation.
    pub fn tokens(&self) -> Vec<(String, WorkerId)> {
        let workers = self.workers.read().unwrap_or_else(PoisonError::into_inner);
        workers.iter().map(|(hash, caller)| (hash.clone(), caller.worker().clone())).collect()
    }

    /// The incarnation that this token belongs to.
    pub fn worker_caller(&self, token: &str) -> Result<WorkerCaller, Denied> {
        let workers = self.workers.read().unwrap_or_else(PoisonError::into_inner);
        workers.get(&hash(token)).cloned().ok_or(Denied::UnknownToken)
    }

    /// Signs webhooks with this from now on. Only the first call counts.
    pub fn sign_with(&self, signer: Signer) {
        let _ = self.signer.set(signer);
    }

    /// What webhooks are signed with.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.get()
    }

    /// Seals a secret for the disk.
    pub fn seal(&self, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0u8; 24];
        self.env.fill(&mut nonce);
        self.sealer.seal(nonce, secret)
    }

    /// Opens what [`seal`](Self::seal) made.
    pub fn unseal(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.sealer.unseal(sealed)
    }
}

/// SHA-256 in hex. Keys and tokens carry at least 165 bits of randomness, so a fast hash keeps them.
pub fn hash(secret: &str) -> String {
    runyard_domain::id::hex(&Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Counting {
        now: AtomicI64,
        next: AtomicU8,
    }

    impl Env for Counting {
        fn now(&self) -> Timestamp {
            Timestamp(self.now.load(Ordering::Relaxed))
        }
        fn fill(&self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.next.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn vault() -> (Arc<Counting>, Vault) {
        let env = Arc::new(Counting::default());
        (env.clone(), Vault::new(env, Sealer::new([7; 32]), vec![]))
    }

    fn request(access: Access, endpoints: &[&str], expires_at: Option<i64>) -> KeyRequest {
        KeyRequest {
            name: "k".into(),
            access,
            endpoints: endpoints.iter().map(|e| EndpointId::new(*e)).collect(),
            expires_at: expires_at.map(Timestamp),
        }
    }

    #[test]
    fn a_key_opens_with_and_without_bearer() {
        let (_, vault) = vault();
        let (record, key) = vault.make_key(request(Access::Run, &["e"], None));
        assert!(!record.hash.contains(&key));
        vault.learn(record);
        for header in [key.clone(), format!("Bearer {key}"), format!("bearer  {key} ")] {
            let caller = vault.key_caller(&header).expect("the key is known");
            caller.may(Access::Run, Some(&EndpointId::new("e"))).expect("in scope");
            assert_eq!(caller.may(Access::Run, Some(&EndpointId::new("x"))), Err(Denied::OtherEndpoint));
            assert_eq!(
                caller.may(Access::Deploy, Some(&EndpointId::new("e"))),
                Err(Denied::Access(Access::Deploy))
            );
            assert_eq!(caller.may(Access::Read, None), Err(Denied::OtherEndpoint));
        }
        assert_eq!(vault.key_caller("Bearer nope").expect_err("unknown"), Denied::UnknownKey);
        assert_eq!(vault.key_caller("Bearer ").expect_err("empty"), Denied::NoKey);
    }

    #[test]
    fn expired_and_revoked_keys_open_nothing() {
        let (env, vault) = vault();
        let (record, key) = vault.make_key(request(Access::Admin, &[], Some(100)));
        vault.learn(record.clone());
        assert!(vault.knows(&key));
        env.now.store(100, Ordering::Relaxed);
        assert_eq!(vault.key_caller(&key).expect_err("over"), Denied::Expired);
        vault.learn(KeyRecord { expires_at: None, revoked_at: Some(Timestamp(1)), ..record });
        assert_eq!(vault.key_caller(&key).expect_err("revoked"), Denied::Revoked);
    }

    #[test]
    fn sealed_secrets_come_back_and_reveal_nothing() {
        let (_, vault) = vault();
        let sealed = vault.seal(b"accessSecret").expect("sealing works");
        assert!(!sealed.windows(6).any(|w| w == b"Secret"));
        assert_eq!(vault.unseal(&sealed).expect("the same key"), b"accessSecret");
        let mut broken = sealed;
        *broken.last_mut().expect("not empty") ^= 1;
        assert!(vault.unseal(&broken).is_err());
    }
}
