//! Which member an identity is, and what a session is: a key of limited life that belongs to that member.

use std::net::IpAddr;

use runyard_domain::{Access, KeyId, KeyRecord, Member, Role, Session};
use runyard_engine::{Deed, Trail};
use runyard_vault::{Identity, KeyRequest};

use crate::Manage;
use crate::problem::Problem;

/// The most sessions that one member, or one key, has at once; the oldest goes.
const MOST_SESSIONS: usize = 50;

/// A session that began.
pub(super) struct Begun {
    /// Its record.
    pub(super) record: KeyRecord,
    /// Its key.
    pub(super) key: String,
}

impl Manage {
    /// Lets a person in whom the provider knows.
    pub(super) async fn admit(&self, identity: &Identity, from: Option<IpAddr>) -> Result<Begun, Problem> {
        let member = self.member_of(identity).await.inspect_err(|problem| {
            tracing::warn!(subject = identity.subject, why = problem.words(), "a sign-in was refused");
        })?;
        self.begin_session(Some(&member), None, from).await
    }

    async fn member_of(&self, identity: &Identity) -> Result<Member, Problem> {
        let provider = self.inner.sign_in.provider()?;
        let options = &provider.options;
        let refuse = |why: String| Problem::refused(why).hint("ask an administrator of this server");
        let given = identity.email.as_deref().and_then(runyard_domain::member::email).ok_or_else(|| {
            refuse("the identity provider names no e-mail address that it has verified".to_owned())
        })?;
        let domain = given.rsplit('@').next().unwrap_or_default();
        if !options.domains.is_empty() && !options.domains.iter().any(|allowed| allowed == domain) {
            return Err(refuse(format!("people of {domain} may not sign in here")));
        }
        let mapped = identity.groups.iter().filter_map(|group| options.roles.get(group)).max().copied();
        let engine = &self.inner.engine;
        let _turn = self.inner.member_turn.lock().await;
        let before = engine.vault().find_member(&given);
        let member = if let Some(member) = before.clone() {
            self.known_member(member, identity, mapped).map_err(refuse)?
        } else {
            let role = mapped.or(options.default_role);
            let role = role.ok_or_else(|| refuse(format!("{given} is no member of this server")))?;
            self.room_for_member()?;
            Member {
                id: engine.env().member_id(),
                name: identity.name.clone().unwrap_or_default(),
                email: given,
                role,
                created_at: engine.now(),
                created_by: Member::BY_PROVIDER.to_owned(),
                disabled_at: None,
                signed_in_at: Some(engine.now()),
                subject: Some(identity.subject.clone()),
            }
        };
        let who = Member::BY_PROVIDER.to_owned();
        let action = if before.is_some() { "member.change" } else { "member.add" }.to_owned();
        let email = Some(member.email.clone());
        let trail = Trail::new(Deed { who, member: email, action, quiet: true, ..Deed::default() });
        trail.scope(engine.put_member(member.clone())).await?;
        Ok(member)
    }

    /// A member who comes again, with the role that the groups have by now.
    fn known_member(
        &self,
        mut member: Member,
        identity: &Identity,
        mapped: Option<Role>,
    ) -> Result<Member, String> {
        if member.disabled_at.is_some() {
            return Err(format!("{} is disabled", member.email));
        }
        if member.subject.as_ref().is_some_and(|subject| *subject != identity.subject) {
            return Err(format!("{} signed in as somebody else before", member.email));
        }
        let changed = Member { role: mapped.unwrap_or(member.role), ..member.clone() };
        if self.keeps_an_admin(&member, Some(&changed)).is_ok() {
            member.role = changed.role;
        } else {
            tracing::warn!(
                member = member.email,
                "the last administrator stays one, whatever the groups say"
            );
        }
        if member.name.is_empty() {
            member.name = identity.name.clone().unwrap_or_default();
        }
        member.signed_in_at = Some(self.inner.engine.now());
        member.subject = Some(identity.subject.clone());
        Ok(member)
    }

    /// Begins a session of a member, or of whoever has a key.
    pub(super) async fn begin_session(
        &self,
        member: Option<&Member>,
        key: Option<&KeyRecord>,
        from: Option<IpAddr>,
    ) -> Result<Begun, Problem> {
        let engine = &self.inner.engine;
        let now = engine.now();
        let mut ends = now.plus(self.inner.sign_in.session_s.saturating_mul(1000));
        let whose = member.map(|member| member.email.as_str()).or(key.map(|key| key.name.as_str()));
        let access = key.map(|key| key.access);
        let most = member.and_then(|member| member.role.access());
        if let Some(at) = key.and_then(|key| key.expires_at) {
            ends = ends.min(at);
        }
        let request = KeyRequest {
            name: format!("session of {}", whose.unwrap_or_default()),
            access: access.or(most).unwrap_or(Access::Read),
            endpoints: key.map(|key| key.endpoints.clone()).unwrap_or_default(),
            expires_at: Some(ends),
        };
        let (mut record, made) = engine.vault().make_session_key(request);
        record.member = member.map(|member| member.id.clone()).or_else(|| key?.member.clone());
        record.session = Some(key.map_or(Session::Provider, |key| Session::Key(key.hash.clone())));
        if let Some(key) = key {
            (record.grants, record.rates) = (key.grants.clone(), key.rates.clone());
        }
        let email = record.member.as_ref().and_then(|id| engine.vault().member(id)).map(|it| it.email);
        let trail = Trail::new(Deed {
            who: record.id.to_string(),
            who_name: Some(record.name.clone()),
            member: email,
            from: from.map(|address| address.to_canonical().to_string()),
            action: "member.sign-in".to_owned(),
            ..Deed::default()
        });
        let stale = self.stale_sessions(&record);
        trail.scope(engine.put_session(record.clone(), stale)).await?;
        Ok(Begun { record, key: made })
    }

    /// The sessions beside a new one that are over, and those that are too many.
    fn stale_sessions(&self, new: &KeyRecord) -> Vec<KeyId> {
        let vault = self.inner.engine.vault();
        let now = self.inner.engine.now();
        let beside = |record: &KeyRecord| match &new.member {
            Some(_) => record.session.is_some() && record.member == new.member,
            None => record.session.is_some() && record.session == new.session,
        };
        let (open, mut stale): (Vec<_>, Vec<_>) = vault
            .keys_where(beside)
            .into_iter()
            .partition(|record| record.revoked_at.is_none() && record.expires_at.is_none_or(|at| at > now));
        let too_many = (open.len() + 1).saturating_sub(MOST_SESSIONS);
        stale.extend(open.into_iter().take(too_many));
        stale.into_iter().map(|record| record.id).collect()
    }
}
