//! Members: the people of this server, with RunPod's roles. What a member may do bounds every key that belongs to the
//! member, at the moment of each call: a role that shrinks shrinks them all at once.

use serde::{Deserialize, Serialize};

use crate::{Access, MemberId, Timestamp};

/// The most members.
pub const MOST: usize = 1_000;

/// The longest name, in bytes.
pub const LONGEST_NAME: usize = 200;

/// The longest e-mail address, in bytes.
const LONGEST_EMAIL: usize = 254;

/// What a member is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees what is spent, and nothing of endpoints.
    Billing,
    /// Calls endpoints and looks at them.
    Basic,
    /// And deploys, changes and removes them.
    Dev,
    /// And everything else: keys, members, settings, the audit log, what is spent.
    Admin,
}

impl Role {
    /// Every role, the one that may least first.
    pub const ALL: [Self; 4] = [Self::Billing, Self::Basic, Self::Dev, Self::Admin];

    /// The most that a key of such a member may do with endpoints; `None`: nothing.
    pub fn access(self) -> Option<Access> {
        match self {
            Self::Billing => None,
            Self::Basic => Some(Access::Run),
            Self::Dev => Some(Access::Deploy),
            Self::Admin => Some(Access::Admin),
        }
    }

    /// Whether such a member sees what is spent.
    pub fn sees_billing(self) -> bool {
        matches!(self, Self::Billing | Self::Admin)
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Billing => "billing",
            Self::Basic => "basic",
            Self::Dev => "dev",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.word() == text);
        found.ok_or_else(|| "a role is basic, billing, dev or admin".to_owned())
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A member as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Unique and stable.
    pub id: MemberId,
    /// What people call the member; may be empty.
    pub name: String,
    /// Unique, in lowercase; what an identity provider knows the member by.
    pub email: String,
    /// What the member may do.
    pub role: Role,
    /// When the member was added.
    pub created_at: Timestamp,
    /// By whom: a key's id, `local`, or `oidc` where the identity provider was enough.
    pub created_by: String,
    /// Since when the member may do nothing, until enabled again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    /// When the member last signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_in_at: Option<Timestamp>,
    /// As whom, at the identity provider: another subject with the same address is somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl Member {
    /// Who added members that nobody invited.
    pub const BY_PROVIDER: &'static str = "oidc";

    /// Whether this is an administrator who may do something.
    pub fn is_active_admin(&self) -> bool {
        self.role == Role::Admin && self.disabled_at.is_none()
    }
}

/// An e-mail address as it is kept: without what stands around it, in lowercase. `None` where it is none.
pub fn email(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let (local, domain) = text.rsplit_once('@')?;
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>(),;:\"\\@[]".contains(c);
    let label = |label: &str| {
        let inside = label.chars().all(|c| c.is_alphanumeric() || c == '-');
        !label.is_empty() && label.len() <= 63 && inside && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_one = text.len() <= LONGEST_EMAIL
        && !local.is_empty()
        && local.chars().all(plain)
        && domain.split('.').all(label);
    is_one.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_in_one_form() {
        assert_eq!(email(" Ann.B+x@Example.COM ").as_deref(), Some("ann.b+x@example.com"));
        assert_eq!(email("root@localhost").as_deref(), Some("root@localhost"));
        for bad in ["", "ann", "@x", "ann@", "a b@x", "a@b@c", "Ann <a@x>", "a@x..y", "a@x y", "a@-\n"] {
            assert_eq!(email(bad), None, "{bad}");
        }
        assert_eq!(email(&format!("{}@x", "a".repeat(300))), None);
    }

    #[test]
    fn roles_have_words() {
        for role in Role::ALL {
            assert_eq!(role.word().parse(), Ok(role));
        }
        assert!("owner".parse::<Role>().is_err());
        assert!(Role::Billing.access() < Role::Basic.access() && Role::Dev.access() < Role::Admin.access());
    }
}
