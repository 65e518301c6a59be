//! Keys, tokens and secrets at rest. This room makes every [`Caller`]; whoever changes something takes one
//! as an argument, so an unchecked call does not compile.
//!
//! - [`Vault::key_caller`] opens with an API key, [`Vault::worker_caller`] with a worker's token.
//! - [`Signer`] signs outgoing webhooks.
//! - [`Vault::seal_for`] and [`Vault::unseal_for`] keep secrets unreadable in the data directory; [`Vault::rotate`]
//!   changes the key that all of them hang on.

mod caller;
mod id_token;
mod job_token;
mod keyfile;
mod known;
mod members;
mod seal;
mod signing;

pub use caller::{Caller, Denied, OWNER, WorkerCaller};
pub use id_token::{BadToken, Expected, Identity, ProviderKeys};
pub use job_token::JOB_PREFIX;
#[doc(hidden)]
pub use keyfile::probe as probe_key_file;
pub use seal::{SealError, Sealer, lost};
pub use signing::Signer;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runyard_domain::{
    Access, DataKeyRecord, EndpointId, Env, KeyId, KeyRecord, Member, MemberId, Operation, Rates, Session,
    Timestamp, WorkerId, WorkerRecord,
};
use sha2::{Digest, Sha256};

use known::Known;

/// What API keys start with.
pub const KEY_PREFIX: &str = "ry_";

/// What the keys of sessions start with.
pub const SESSION_PREFIX: &str = "rs_";

/// What keys for pages in browsers start with: they may be seen.
pub const PAGE_PREFIX: &str = "pk_";

/// The keeper of keys, tokens and the sealing key.
#[derive(Debug)]
pub struct Vault {
    env: Arc<dyn Env>,
    sealer: Sealer,
    signer: OnceLock<Signer>,
    keys: RwLock<HashMap<String, Known>>,
    workers: RwLock<HashMap<String, WorkerCaller>>,
    members: RwLock<HashMap<MemberId, Member>>,
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
        let keys = records.into_iter().map(|record| (record.hash.clone(), Known::new(record))).collect();
        let (signer, keys) = (OnceLock::new(), RwLock::new(keys));
        Self { env, sealer, signer, keys, workers: RwLock::default(), members: RwLock::default() }
    }

    /// Makes a key: its record, to be committed and then [`learn`](Self::learn)ed, and the key itself, to be
    /// shown once.
    pub fn make_key(&self, request: KeyRequest) -> (KeyRecord, String) {
        self.make_with(KEY_PREFIX, request)
    }

    /// Makes a key for pages in browsers; what it is held to is for the record's `page`.
    pub fn make_page_key(&self, request: KeyRequest) -> (KeyRecord, String) {
        self.make_with(PAGE_PREFIX, request)
    }

    /// Makes the key of a session.
    pub fn make_session_key(&self, request: KeyRequest) -> (KeyRecord, String) {
        self.make_with(SESSION_PREFIX, request)
    }

    fn make_with(&self, prefix: &str, request: KeyRequest) -> (KeyRecord, String) {
        let key = format!("{prefix}{}", self.env.token(37));
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
            grants: std::collections::BTreeMap::new(),
            disabled_at: None,
            used_at: None,
            page: None,
            member: None,
            session: None,
        }
    }

    /// Takes up a new or changed record.
    pub fn learn(&self, record: KeyRecord) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let hash = record.hash.clone();
        let known = Known::new(record);
        if let Some(before) = keys.get(&hash) {
            known.goes_on_from(before);
        }
        keys.insert(hash, known);
    }

    /// A key's record by its public part, with when it was last used.
    pub fn key(&self, id: &KeyId) -> Option<KeyRecord> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.values().find(|known| known.record.id == *id).map(Known::as_it_is)
    }

    /// Keys that were used since this was last asked, and when each of them last was.
    pub fn take_uses(&self) -> Vec<(KeyId, Timestamp)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let kept = keys.values().filter(|known| known.record.id.as_str() != OWNER);
        kept.filter_map(|known| Some((known.record.id.clone(), known.take_use()?))).collect()
    }

    /// Whether this text is a key that opens something now.
    pub fn knows(&self, key: &str) -> bool {
        self.key_caller(key).is_ok()
    }

    /// Who sends this `Authorization` value: a key with or without `Bearer`.
    pub fn key_caller(&self, authorization: &str) -> Result<Caller, Denied> {
        self.job_caller(authorization, None, None)
    }

    /// The same for an operation of the job API: keys for pages open some, to pages of some origins.
    pub fn job_caller(
        &self,
        authorization: &str,
        operation: Option<Operation>,
        origin: Option<&str>,
    ) -> Result<Caller, Denied> {
        let key = bare(authorization);
        if key.is_empty() {
            return Err(Denied::NoKey);
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let known = keys.get(&hash(key)).ok_or(Denied::UnknownKey)?;
        let now = self.env.now();
        if let Some(denied) = known.is_closed(now) {
            return Err(denied);
        }
        if let Some(Session::Key(parent)) = &known.record.session {
            let parent = keys.get(parent).ok_or(Denied::Revoked)?;
            if let Some(denied) = parent.is_closed(now) {
                return Err(denied);
            }
        }
        let role = self.role_of(&known.record)?;
        if let Some(page) = &known.record.page {
            caller::admits_page(page, operation, origin)?;
        }
        known.used(now);
        Ok(Caller::key(&known.record, role))
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

    /// Keys for marks on tokens.
    fn marks(&self) -> &[[u8; 32]] {
        self.sealer.marks()
    }

    /// Seals a secret for the disk.
    pub fn seal(&self, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_for("", secret)
    }

    /// Opens what [`seal`](Self::seal) made.
    pub fn unseal(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.unseal_for("", sealed)
    }

    /// Seals a secret for the disk and for one place there: under another name it does not open.
    pub fn seal_for(&self, place: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0u8; 24];
        self.env.fill(&mut nonce);
        self.sealer.seal(nonce, place.as_bytes(), secret)
    }

    /// Opens what [`seal_for`](Self::seal_for) made for this place.
    pub fn unseal_for(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.sealer.unseal(place.as_bytes(), sealed)
    }

    /// Seals a text for one place; the sealed value is base64.
    pub fn seal_text(&self, place: &str, secret: &str) -> Result<String, SealError> {
        Ok(STANDARD.encode(self.seal_for(place, secret.as_bytes())?))
    }

    /// Opens what [`seal_text`](Self::seal_text) made for this place.
    pub fn open_text(&self, place: &str, sealed: &str) -> Result<String, SealError> {
        let sealed = STANDARD.decode(sealed).map_err(|_| SealError::Broken)?;
        String::from_utf8(self.unseal_for(place, &sealed)?).map_err(|_| SealError::Broken)
    }

    /// Puts a new key into the key file. Answers the data keys wrapped by it, which are to be committed before
    /// [`forget_old_keys`](Self::forget_old_keys).
    pub fn rotate(&self, records: &[DataKeyRecord]) -> Result<Vec<DataKeyRecord>, SealError> {
        self.sealer.rotate(records, &*self.env)
    }

    /// Takes the keys before the newest out of the key file; answers the id of the one that is left.
    pub fn forget_old_keys(&self) -> Result<String, SealError> {
        self.sealer.forget_old_keys()
    }
}

/// A key without `Bearer`.
fn bare(authorization: &str) -> &str {
    match authorization.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        _ => authorization.trim(),
    }
}

/// SHA-256 in hex. Keys and tokens carry at least 165 bits of randomness, so a fast hash keeps them.
pub fn hash(secret: &str) -> String {
    runyard_domain::id::hex(&Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

    use runyard_domain::PageUse;

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
        vault.learn(KeyRecord { expires_at: None, revoked_at: Some(Timestamp(1)), ..record.clone() });
        assert_eq!(vault.key_caller(&key).expect_err("revoked"), Denied::Revoked);
        let disabled = KeyRecord { expires_at: None, disabled_at: Some(Timestamp(1)), ..record };
        vault.learn(disabled.clone());
        assert_eq!(vault.key_caller(&key).expect_err("disabled"), Denied::Disabled);
        vault.learn(KeyRecord { disabled_at: None, ..disabled });
        assert!(vault.knows(&key));
    }

    #[test]
    fn a_use_is_told_once() {
        let (env, vault) = vault();
        let (record, key) = vault.make_key(request(Access::Run, &[], None));
        vault.learn(record.clone());
        assert_eq!(vault.take_uses(), []);
        for at in [7, 8] {
            env.now.store(at, Ordering::Relaxed);
            assert!(vault.knows(&key));
        }
        vault.learn(KeyRecord { name: "other".into(), ..record.clone() });
        assert_eq!(vault.key(&record.id).and_then(|key| key.used_at), Some(Timestamp(8)));
        assert_eq!(vault.take_uses(), [(record.id, Timestamp(8))]);
        assert_eq!(vault.take_uses(), []);
    }

    #[test]
    fn a_grant_is_for_its_endpoint() {
        let (_, vault) = vault();
        let (mut record, key) = vault.make_key(request(Access::Read, &["a", "b"], None));
        record.grants.insert(EndpointId::new("b"), Access::Deploy);
        vault.learn(record);
        let caller = vault.key_caller(&key).expect("known");
        let may = |access, endpoint: &str| caller.may(access, Some(&EndpointId::new(endpoint)));
        assert_eq!(may(Access::Run, "a"), Err(Denied::Access(Access::Run)));
        assert_eq!((may(Access::Read, "a"), may(Access::Deploy, "b")), (Ok(()), Ok(())));
        assert_eq!(may(Access::Admin, "b"), Err(Denied::Access(Access::Admin)));
        assert_eq!(may(Access::Read, "c"), Err(Denied::OtherEndpoint));
        assert_eq!(caller.may(Access::Read, None), Err(Denied::OtherEndpoint));
    }

    #[test]
    fn a_key_for_pages_opens_its_operations_to_its_origins() {
        let (_, vault) = vault();
        let (mut record, key) = vault.make_page_key(request(Access::Run, &["e"], None));
        assert!(key.starts_with(PAGE_PREFIX));
        let origins = vec!["https://a.example".to_owned()];
        record.page = Some(PageUse { operations: vec![Operation::Run], origins });
        vault.learn(record.clone());
        let open = |operation, origin| vault.job_caller(&key, operation, origin).err();
        let (run, here) = (Some(Operation::Run), Some("https://a.example"));
        assert_eq!(open(run, here), None);
        assert_eq!(open(Some(Operation::Cancel), here), Some(Denied::Page));
        assert_eq!(open(None, here), Some(Denied::Page));
        for other in [None, Some("null"), Some("https://a.example.evil"), Some("http://a.example")] {
            assert_eq!(open(run, other), Some(Denied::Origin), "{other:?}");
        }
        assert_eq!(vault.key_caller(&key).err(), Some(Denied::Page), "nothing else opens");
    }

    #[test]
    fn a_job_token_opens_its_job_alone() {
        use runyard_domain::{Job, JobId};

        let (_, vault) = vault();
        let (own, other) = (JobId::new("own-u1"), JobId::new("other-u1"));
        let token = format!("Bearer {}", vault.job_token(&own));
        assert!(Vault::is_job_token(&token) && !Vault::is_job_token("ry_x"));
        let gone = |_: &JobId| Err::<Job, Denied>(Denied::NoKey);
        let ask = |token: &str, operation, job: Option<&JobId>| {
            vault.job_token_caller(token, operation, job, gone).expect_err("there is no job")
        };
        let status = Some(Operation::Status);
        assert_eq!(ask(&token, status, Some(&own)), Denied::NoKey, "it was looked for");
        assert_eq!(ask(&token, status, Some(&other)), Denied::UnknownKey);
        assert_eq!(ask(&token, Some(Operation::Run), Some(&own)), Denied::JobToken);
        assert_eq!(ask(&token, None, Some(&own)), Denied::JobToken);
        for broken in ["jt_", "jt_AAAA", "jt_!", &token[..token.len() - 1]] {
            assert_eq!(ask(broken, status, Some(&own)), Denied::UnknownKey, "{broken}");
        }
        assert_eq!(vault.key_caller(&token).err(), Some(Denied::UnknownKey), "it is no key");
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
