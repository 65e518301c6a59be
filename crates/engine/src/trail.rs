//! Who is behind a change: a deed is told once, around the work that it is, and whatever that work commits of the
//! control plane carries its audit record in the same transaction. What changed is read from the command itself, as it
//! differs from what is kept: of a secret its version, of a login that it was set, and never a value.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runyard_domain::audit::{FieldChange, changes};
use runyard_domain::{
    AuditRecord, ConnectionId, Endpoint, EndpointId, Job, JobId, KeyId, KeyRecord, Member, Resource,
    ResourceId, SecretRecord, git, registry, resource,
};
use runyard_store::{Command, Reply};
use runyard_vault::Caller;
use serde_json::{Value, json};

use crate::{Engine, EngineError};

tokio::task_local! {
    static TRAIL: Trail;
}

/// What somebody does.
#[derive(Debug, Clone, Default)]
pub struct Deed {
    /// Who: a key's id, `local`, `git`, or `runyard` for what the server does by itself.
    pub who: String,
    /// What the key is called.
    pub who_name: Option<String>,
    /// The e-mail address of the member that the key belongs to.
    pub member: Option<String>,
    /// The address that it came from.
    pub from: Option<String>,
    /// What is done, as `endpoint.change`.
    pub action: String,
    /// The endpoint that it is done to, where that is known before.
    pub endpoint: Option<EndpointId>,
    /// What else it is done to, where that is known before.
    pub subject: Option<String>,
    /// What changes, where the command does not show it.
    pub changes: Vec<FieldChange>,
    /// Only what changes something that is shown is told.
    pub quiet: bool,
}

/// A deed on its way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Trail(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    deed: Deed,
    written: AtomicBool,
    carried: AtomicBool,
}

impl Trail {
    /// The beginning of a deed.
    pub fn new(deed: Deed) -> Self {
        Self(Arc::new(Inner { deed, written: AtomicBool::new(false), carried: AtomicBool::new(false) }))
    }

    /// Does the work of the deed.
    pub fn scope<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        TRAIL.scope(self.clone(), work)
    }

    /// Work that goes on in a task of its own, for the deed that is under way here.
    pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
        let trail = Self::current();
        if let Some(trail) = &trail {
            trail.0.carried.store(true, Ordering::Relaxed);
        }
        async move {
            match trail {
                Some(trail) => TRAIL.scope(trail, work).await,
                None => work.await,
            }
        }
    }

    /// A further deed of whoever does the one that is under way here.
    pub fn beside(action: &str) -> Self {
        let deed = Self::current().map(|trail| trail.0.deed.clone()).unwrap_or_default();
        Self::new(Deed { action: action.to_owned(), subject: None, changes: Vec::new(), ..deed })
    }

    fn current() -> Option<Self> {
        TRAIL.try_with(Clone::clone).ok()
    }

    /// Whether something of it was committed with its record, or will be by a task that goes on.
    pub fn is_told(&self) -> bool {
        self.0.written.load(Ordering::Relaxed) || self.0.carried.load(Ordering::Relaxed)
    }
}

/// What a command is about.
#[derive(Default)]
struct About {
    endpoint: Option<EndpointId>,
    endpoint_name: Option<String>,
    subject: Option<String>,
    changes: Vec<FieldChange>,
    /// A record is written also where nothing that is shown differs.
    always: bool,
}

impl Engine {
    /// Commits a command of the control plane, with the audit record of the deed that it is part of.
    pub(crate) async fn commit_deed(&self, command: Command) -> Result<Reply, EngineError> {
        self.commit_deed_then(command, Vec::new()).await
    }

    /// The same, and in the same transaction what belongs to it.
    pub(crate) async fn commit_deed_then(
        &self,
        command: Command,
        then: Vec<Command>,
    ) -> Result<Reply, EngineError> {
        let writer = &self.shared.writer;
        let Some(trail) = Trail::current() else { return writer.commit_then(command, then).await };
        let Some(record) = self.record_of(&trail, &command)? else {
            return writer.commit_then(command, then).await;
        };
        let recorded = Command::Recorded { command: Box::new(command), record: Box::new(record) };
        let reply = writer.commit_then(recorded, then).await?;
        if reply.is_change() {
            trail.0.written.store(true, Ordering::Relaxed);
        }
        Ok(reply)
    }

    /// A record of a deed that committed nothing: what it did lies elsewhere than in the store.
    pub async fn tell(&self, trail: &Trail) -> Result<(), EngineError> {
        let record = self.record(&trail.0.deed, About::default());
        self.put_audit(record).await
    }

    fn record_of(&self, trail: &Trail, command: &Command) -> Result<Option<AuditRecord>, EngineError> {
        let Some(about) = self.about(command)? else { return Ok(None) };
        let deed = &trail.0.deed;
        let first = !trail.0.written.load(Ordering::Relaxed);
        if about.changes.is_empty() && (deed.quiet || !about.always || !first) {
            return Ok(None);
        }
        Ok(Some(self.record(deed, about)))
    }

    fn record(&self, deed: &Deed, about: About) -> AuditRecord {
        let endpoint = about.endpoint.or_else(|| deed.endpoint.clone());
        let name = || Some(self.endpoint_by_id(endpoint.as_ref()?)?.name.clone());
        AuditRecord {
            seq: 0,
            at: self.now(),
            who: deed.who.clone(),
            who_name: deed.who_name.clone(),
            member: deed.member.clone(),
            from: deed.from.clone(),
            action: deed.action.clone(),
            endpoint_name: about.endpoint_name.or_else(name),
            endpoint,
            subject: about.subject.or_else(|| deed.subject.clone()),
            changes: if about.changes.is_empty() { deed.changes.clone() } else { about.changes },
        }
    }

    /// What a command is about and what it changes; nothing where it is not for the audit log.
    fn about(&self, command: &Command) -> Result<Option<About>, EngineError> {
        let reader = self.reader();
        Ok(Some(match command {
            Command::PutEndpoint(record) => {
                let before = self.endpoint_by_id(&record.id);
                let name = before.as_ref().map_or(&record.name, |before| &before.name).clone();
                let changes = changes(&before.as_deref().map_or(Value::Null, endpoint), &endpoint(record));
                About { endpoint_name: Some(name), changes, ..About::of(&record.id) }
            }
            Command::DropEndpoint(id) => {
                let before = self.endpoint_by_id(id);
                let endpoint_name = before.as_ref().map(|before| before.name.clone());
                let changes = changes(&before.as_deref().map_or(Value::Null, endpoint), &Value::Null);
                About { endpoint_name, changes, always: true, ..About::of(id) }
            }
            Command::PutConnection(record) => {
                let changes = changes(&self.connection_facts(&record.id)?, &connection(record));
                About { changes, ..About::of(&record.endpoint) }
            }
            Command::DropConnection(id) => {
                let endpoint = reader.connection(id)?.map(|connection| connection.endpoint);
                let changes = changes(&self.connection_facts(id)?, &Value::Null);
                About { endpoint, changes, always: true, ..About::default() }
            }
            Command::PutKey(record) => {
                let before = self.vault().key(&record.id).map_or(Value::Null, |before| key(&before));
                About::thing(record.id.as_str(), &before, &key(record))
            }
            Command::PutMember(record) => {
                let before = self.vault().member(&record.id).map_or(Value::Null, |before| member(&before));
                About::thing(&record.email, &before, &member(record))
            }
            Command::DropMember(id) => {
                let before = self.vault().member(id);
                let email = before.as_ref().map_or(id.as_str(), |before| before.email.as_str());
                About::thing(email, &before.as_ref().map_or(Value::Null, member), &Value::Null)
            }
            Command::PutSecret(record) => {
                let before = reader.secret(&record.name)?.map_or(Value::Null, |before| secret(&before));
                About::thing(&record.name, &before, &secret(record))
            }
            Command::DropSecret(name) => {
                let before = reader.secret(name)?.map_or(Value::Null, |before| secret(&before));
                About::thing(name, &before, &Value::Null)
            }
            Command::PutRegistry(record) => {
                About::thing(&record.name, &self.registry_facts(&record.name)?, &login(record))
            }
            Command::DropRegistry(name) => About::thing(name, &self.registry_facts(name)?, &Value::Null),
            Command::PutResource(record) => {
                About::thing(record.id.as_str(), &self.resource_facts(&record.id)?, &shared(record))
            }
            Command::DropResource(id) => About::thing(id.as_str(), &self.resource_facts(id)?, &Value::Null),
            Command::PutExample(example) => {
                About { subject: Some(example.name.clone()), always: true, ..About::of(&example.endpoint) }
            }
            Command::DropExample(endpoint, name) => {
                About { subject: Some(name.clone()), always: true, ..About::of(endpoint) }
            }
            Command::Purge { endpoint, .. } => About { always: true, ..About::of(endpoint) },
            Command::Cancel { job, .. } | Command::Retry { job } => {
                let endpoint = reader.job(job)?.map(|job| job.endpoint);
                About { endpoint, subject: Some(job.to_string()), always: true, ..About::default() }
            }
            Command::PutDataKeys(_) | Command::Redeliver(_) => About { always: true, ..About::default() },
            _ => return Ok(None),
        }))
    }

    fn connection_facts(&self, id: &ConnectionId) -> Result<Value, EngineError> {
        Ok(self.reader().connection(id)?.map_or(Value::Null, |before| connection(&before)))
    }

    fn registry_facts(&self, name: &str) -> Result<Value, EngineError> {
        let all = self.reader().registries()?;
        Ok(all.iter().find(|record| record.name == name).map_or(Value::Null, login))
    }

    fn resource_facts(&self, id: &ResourceId) -> Result<Value, EngineError> {
        Ok(self.reader().resource(id)?.map_or(Value::Null, |before| shared(&before)))
    }

    /// What a caller does.
    pub fn deed(&self, caller: &Caller, action: &str) -> Deed {
        let member = caller.member().and_then(|id| self.vault().member(id));
        Deed {
            who: caller.name().to_owned(),
            who_name: self.known_as(caller.name()),
            member: member.map(|member| member.email),
            action: action.to_owned(),
            ..Deed::default()
        }
    }

    /// Ends a job for a client of the job API.
    pub async fn cancel_over_jobs(&self, caller: &Caller, job: &JobId) -> Result<Job, EngineError> {
        self.check(caller, job)?;
        let by = format!("{} over /v2", caller.name());
        self.commit_job(job, Command::Cancel { job: job.clone(), by }).await
    }

    /// `cancelled by …`, or how it was purged: what a job keeps of who ended it, with what people call the key, and whose
    /// it is.
    pub fn cancelled_by(&self, kept: &str) -> String {
        if let Some(who) = kept.strip_prefix("purge by ") {
            return format!("removed from the queue when {} purged it", self.who_is(who));
        }
        let (who, door) = kept.split_once(" over ").unwrap_or((kept, ""));
        let who = self.who_is(who);
        if door.is_empty() {
            format!("cancelled by {who}")
        } else {
            format!("cancelled by its client over {door} with {who}")
        }
    }

    /// Who a caller's name means, for people.
    fn who_is(&self, name: &str) -> String {
        if name == runyard_vault::OWNER {
            return "the key of this server's owner (local)".to_owned();
        }
        let Some(key) = self.vault().key(&KeyId::new(name)) else { return name.to_owned() };
        let member = key.member.as_ref().and_then(|id| self.vault().member(id)).map(|member| member.email);
        match member {
            Some(email) if key.session.is_some() => format!("a session of {email} ({name})"),
            Some(email) => format!("the key '{}' of {email} ({name})", key.name),
            None => format!("the key '{}' ({name})", key.name),
        }
    }

    /// What people call a key.
    fn known_as(&self, key: &str) -> Option<String> {
        self.vault().key(&KeyId::new(key)).map(|key| key.name)
    }
}

impl About {
    fn of(endpoint: &EndpointId) -> Self {
        Self { endpoint: Some(endpoint.clone()), ..Self::default() }
    }

    fn thing(name: &str, before: &Value, after: &Value) -> Self {
        Self {
            subject: Some(name.to_owned()),
            changes: changes(before, after),
            always: true,
            ..Self::default()
        }
    }
}

/// What is told of an endpoint.
fn endpoint(endpoint: &Endpoint) -> Value {
    let withdrawn = endpoint.withdrawn.iter().map(|gone| (gone.release.to_string(), json!(gone.why)));
    let mut facts = json!({
        "name": endpoint.name,
        "settings": endpoint.settings,
        "serving": endpoint.serving,
        "newestRelease": endpoint.next_release - 1,
        "canary": endpoint.rollout.as_ref().and_then(runyard_domain::Rollout::canary_percent),
        "managedBy": endpoint.managed.as_ref().map(|managed| &managed.by),
        "withdrawn": withdrawn.collect::<serde_json::Map<_, _>>(),
    });
    if let Some(blueprint) = &endpoint.blueprint {
        facts["blueprint"] = json!({
            "title": blueprint.title,
            "revision": blueprint.revision,
            "config": container(&blueprint.config),
        });
    }
    facts
}

/// A container, of whose variables the names are told.
fn container(config: &resource::ContainerConfig) -> Value {
    json!({
        "image": config.image,
        "args": config.args,
        "env": config.env.keys().collect::<Vec<_>>(),
        "registry": config.registry,
    })
}

fn connection(connection: &git::Connection) -> Value {
    json!({"git": {"origin": connection.origin, "part": connection.part}})
}

fn secret(record: &SecretRecord) -> Value {
    json!({"description": record.description, "version": record.version})
}

fn login(record: &registry::Registry) -> Value {
    json!({"server": record.server, "username": record.username})
}

fn shared(record: &Resource) -> Value {
    let mut facts = match &record.kind {
        resource::Kind::Template(template) => container(&template.config),
        other => serde_json::to_value(other).unwrap_or_default(),
    };
    facts["name"] = json!(record.name);
    facts
}

fn member(record: &Member) -> Value {
    json!({
        "email": record.email,
        "name": record.name,
        "role": record.role,
        "disabled": record.disabled_at.is_some(),
    })
}

fn key(record: &KeyRecord) -> Value {
    json!({
        "name": record.name,
        "member": record.member,
        "access": record.access,
        "endpoints": record.endpoints,
        "grants": record.grants,
        "rates": record.rates,
        "page": record.page,
        "expiresAt": record.expires_at.map(|t| t.0),
        "disabled": record.disabled_at.is_some(),
        "revoked": record.revoked_at.is_some(),
    })
}
