//! Members as the vault knows them: each call with a member's key is bounded by what the member may do at that moment.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard};

use runyard_domain::{KeyId, KeyRecord, Member, MemberId, Role};

use crate::known::Known;
use crate::{Denied, Vault};

impl Vault {
    /// Takes up a new or changed member.
    pub fn learn_member(&self, member: Member) {
        self.members_mut().insert(member.id.clone(), member);
    }

    /// A member is gone: what belonged to the member opens nothing.
    pub fn forget_member(&self, id: &MemberId) {
        self.members_mut().remove(id);
    }

    /// One member.
    pub fn member(&self, id: &MemberId) -> Option<Member> {
        self.all_members().get(id).cloned()
    }

    /// The member with this id or e-mail address.
    pub fn find_member(&self, id_or_email: &str) -> Option<Member> {
        let email = runyard_domain::member::email(id_or_email);
        let members = self.all_members();
        let is_named = |member: &&Member| {
            member.id.as_str() == id_or_email || email.as_ref().is_some_and(|email| *email == member.email)
        };
        members.values().find(is_named).cloned()
    }

    /// Every member, oldest first.
    pub fn members(&self) -> Vec<Member> {
        let mut all: Vec<Member> = self.all_members().values().cloned().collect();
        all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        all
    }

    /// The keys of a member, sessions among them, oldest first.
    pub fn keys_of(&self, member: &MemberId) -> Vec<KeyRecord> {
        self.keys_where(|record| record.member.as_ref() == Some(member))
    }

    /// The keys that fit, oldest first, each with its last use.
    pub fn keys_where(&self, fits: impl Fn(&KeyRecord) -> bool) -> Vec<KeyRecord> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let found = keys.values().filter(|known| fits(&known.record));
        let mut found: Vec<KeyRecord> = found.map(Known::as_it_is).collect();
        found.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        found
    }

    /// These keys are gone with their records.
    pub fn forget_keys(&self, ids: &[KeyId]) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, known| !ids.contains(&known.record.id));
    }

    /// What bounds a key: the role of whom it belongs to, if it belongs to somebody.
    pub(crate) fn role_of(&self, record: &KeyRecord) -> Result<Option<Role>, Denied> {
        let Some(id) = &record.member else { return Ok(None) };
        let members = self.all_members();
        let member = members.get(id).ok_or(Denied::Member)?;
        if member.disabled_at.is_some() { Err(Denied::Member) } else { Ok(Some(member.role)) }
    }

    fn all_members(&self) -> RwLockReadGuard<'_, HashMap<MemberId, Member>> {
        self.members.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn members_mut(&self) -> RwLockWriteGuard<'_, HashMap<MemberId, Member>> {
        self.members.write().unwrap_or_else(PoisonError::into_inner)
    }
}
