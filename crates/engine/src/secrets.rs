//! Secrets as the engine keeps them: sealed in the store, each for its own place, so that none opens under another
//! name. Whoever opens one holds it for a moment: nothing here remembers values.

use runyard_domain::{AuditRecord, EndpointId, KeyId, KeyRecord, Member, MemberId, SecretRecord, Timestamp};
use runyard_store::Command;

use crate::{Engine, EngineError};

/// The place of a secret's value.
fn of_secret(name: &str) -> String {
    format!("secret {name}")
}

/// The place of a secure variable's value: all releases of its endpoint.
fn of_variable(endpoint: &EndpointId, variable: &str) -> String {
    format!("variable {variable} of {endpoint}")
}

impl Engine {
    /// Seals the value of a secret for its record.
    pub fn seal_secret(&self, name: &str, value: &str) -> Result<String, EngineError> {
        Ok(self.vault().seal_text(&of_secret(name), value)?)
    }

    /// The value of a secret; `None` where it cannot be opened.
    pub fn open_secret(&self, secret: &SecretRecord) -> Option<String> {
        self.vault().open_text(&of_secret(&secret.name), &secret.sealed).ok()
    }

    /// Seals the value of an endpoint's secure variable.
    pub fn seal_variable(
        &self,
        endpoint: &EndpointId,
        variable: &str,
        value: &str,
    ) -> Result<String, EngineError> {
        Ok(self.vault().seal_text(&of_variable(endpoint, variable), value)?)
    }

    /// The value of an endpoint's secure variable; `None` where it cannot be opened.
    pub fn open_variable(&self, endpoint: &EndpointId, variable: &str, sealed: &str) -> Option<String> {
        self.vault().open_text(&of_variable(endpoint, variable), sealed).ok()
    }

    /// Replaces a secret's record.
    pub async fn put_secret(&self, secret: SecretRecord) -> Result<(), EngineError> {
        self.commit_deed(Command::PutSecret(Box::new(secret))).await.map(drop)
    }

    /// Removes a secret.
    pub async fn drop_secret(&self, name: &str) -> Result<(), EngineError> {
        self.commit_deed(Command::DropSecret(name.to_owned())).await.map(drop)
    }

    /// Has it written, some time, that workers got these secrets now.
    pub fn note_secret_uses(&self, names: Vec<String>) {
        if !names.is_empty() {
            self.shared.writer.submit(Command::UseSecrets { names, at: self.now() });
        }
    }

    /// Replaces a member's record and lets the vault know it.
    pub async fn put_member(&self, member: Member) -> Result<(), EngineError> {
        self.commit_deed(Command::PutMember(Box::new(member.clone()))).await?;
        self.vault().learn_member(member);
        Ok(())
    }

    /// Removes a member; the member's keys are revoked in the same write.
    pub async fn drop_member(&self, id: &MemberId) -> Result<(), EngineError> {
        let mut keys = self.vault().keys_of(id);
        let now = self.now();
        for key in &mut keys {
            key.revoked_at.get_or_insert(now);
        }
        let revoked = keys.iter().map(|key| Command::PutKey(Box::new(key.clone()))).collect();
        self.commit_deed_then(Command::DropMember(id.clone()), revoked).await?;
        for key in keys {
            self.vault().learn(key);
        }
        self.vault().forget_member(id);
        Ok(())
    }

    /// Keeps a new session; those in whose place it comes are forgotten in the same write.
    pub async fn put_session(&self, key: KeyRecord, stale: Vec<KeyId>) -> Result<(), EngineError> {
        let forget = (!stale.is_empty()).then(|| Command::DropKeys(stale.clone()));
        self.commit_deed_then(Command::PutKey(Box::new(key.clone())), forget.into_iter().collect()).await?;
        self.vault().forget_keys(&stale);
        self.vault().learn(key);
        Ok(())
    }

    /// Adds a record to the audit log.
    pub async fn put_audit(&self, record: AuditRecord) -> Result<(), EngineError> {
        self.shared.writer.commit(Command::PutAudit(Box::new(record))).await.map(drop)
    }

    /// Writes when API keys were last used, of those that were used since this was last done. Where it fails, the
    /// next use of a key is written.
    pub async fn write_key_uses(&self) -> Result<(), EngineError> {
        let uses: Vec<(KeyId, Timestamp)> = self.vault().take_uses();
        if uses.is_empty() {
            return Ok(());
        }
        self.shared.writer.commit(Command::UseKeys(uses)).await.map(drop)
    }

    /// Puts a new key into the key file, has the keys that seal wrapped by it, and takes the old key out of the file.
    /// No secret is touched. Answers the new key's id. To be called by one at a time.
    pub async fn rotate_key(&self) -> Result<String, EngineError> {
        let records = self.reader().data_keys()?;
        let records = self.vault().rotate(&records)?;
        self.commit_deed(Command::PutDataKeys(records)).await?;
        Ok(self.vault().forget_old_keys()?)
    }
}
