//! Secure variables: values that belong to the releases of one endpoint. They are sealed as they come in, stay from
//! release to release until they are set or taken away, and are shown as dots.

use std::collections::BTreeMap;

use runyard_domain::{Endpoint, EndpointId, Release, secret};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::deploy::is_variable;
use crate::{Manage, Problem};

/// Secure variables to set, and to take away (`null`).
#[derive(Default)]
pub(crate) struct SecretEnv(pub(crate) BTreeMap<String, Option<String>>);

impl<'de> Deserialize<'de> for SecretEnv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || {
            serde::de::Error::custom("'secretEnv' must be an object of strings, or null for what shall go")
        };
        let Value::Object(given) = Value::deserialize(deserializer)? else { return Err(wrong()) };
        let read = |(name, value)| match value {
            Value::String(value) => Ok((name, Some(value))),
            Value::Null => Ok((name, None)),
            _ => Err(wrong()),
        };
        given.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// A value that a secret can have.
pub(crate) fn check_secure(name: &str, value: &str) -> Result<(), Problem> {
    if value.is_empty() || value.len() > secret::LONGEST_VALUE || value.contains('\0') {
        let name: String = name.chars().take(80).collect();
        return Err(Problem::invalid(format!(
            "the value of '{name}' has {} bytes: a secret has 1 to {}, and no zero byte",
            value.len(),
            secret::LONGEST_VALUE
        )));
    }
    Ok(())
}

impl SecretEnv {
    /// Checks names and values, beside those of the plain variables.
    pub(crate) fn check<'a>(&self, mut plain: impl Iterator<Item = &'a String>) -> Result<(), Problem> {
        for (name, value) in &self.0 {
            if !is_variable(name) {
                let name: String = name.chars().take(60).collect();
                return Err(Problem::invalid(format!("{name:?} cannot be a variable")));
            }
            check_secure(name, value.as_deref().unwrap_or("-"))?;
        }
        match plain.find(|name| self.0.get(*name).is_some_and(Option::is_some)) {
            Some(twice) => Err(Problem::invalid(format!(
                "the variable {twice} is given twice, as a plain one and as a secure one"
            ))),
            None => Ok(()),
        }
    }
}

impl Manage {
    /// Variables that refer to secrets which are not there, with those.
    pub(crate) fn missing_secrets<'a>(
        &self,
        env: &'a BTreeMap<String, String>,
    ) -> Result<Vec<(&'a str, &'a str)>, Problem> {
        let reader = self.inner.engine.reader();
        let mut missing = Vec::new();
        for (variable, value) in env {
            for name in secret::references(value) {
                if reader.secret(name)?.is_none() {
                    missing.push((variable.as_str(), name));
                }
            }
        }
        Ok(missing)
    }

    /// Refuses variables that refer to secrets which are not there.
    pub(crate) fn check_references(&self, env: &BTreeMap<String, String>) -> Result<(), Problem> {
        match self.missing_secrets(env)?.as_slice() {
            [] => Ok(()),
            all => Err(Problem::secret_missing(all)),
        }
    }

    /// The secure variables that an endpoint's next release has if nothing is said.
    pub(crate) fn kept_secure(&self, endpoint: &Endpoint) -> Result<BTreeMap<String, String>, Problem> {
        let releases = self.inner.engine.reader().releases(&endpoint.id)?;
        let serves = |release: &&Release| Some(release.number) == endpoint.serving;
        let from = releases.iter().find(serves).or(releases.first());
        let mut kept = from.map(|release| release.secure_env.clone()).unwrap_or_default();
        if endpoint.serving.is_none()
            && let Some(connection) = self.connection_of(&endpoint.id)?
        {
            // The first release of a repository has what its connection was given.
            kept.extend(connection.part.secure_env);
        }
        Ok(kept)
    }

    /// The same for the endpoint of a pull request, which has the values of its repository's endpoint.
    pub(crate) fn inherited_secure(
        &self,
        endpoint: &Endpoint,
        from: &EndpointId,
    ) -> Result<BTreeMap<String, String>, Problem> {
        let engine = &self.inner.engine;
        let mut kept = self.kept_secure(endpoint)?;
        let Some(main) = engine.endpoint_by_id(from) else { return Ok(kept) };
        for (name, sealed) in self.kept_secure(&main)? {
            let Some(value) = engine.open_variable(from, &name, &sealed) else { continue };
            let own = kept.get(&name).and_then(|sealed| engine.open_variable(&endpoint.id, &name, sealed));
            if own.as_ref() != Some(&value) {
                kept.insert(name.clone(), engine.seal_variable(&endpoint.id, &name, &value)?);
            }
        }
        Ok(kept)
    }

    /// Secure variables with some of them set or taken away; plain ones of the same name take their place.
    pub(crate) fn changed_secure<'a>(
        &self,
        endpoint: &EndpointId,
        kept: BTreeMap<String, String>,
        plain: impl Iterator<Item = &'a String>,
        changes: &SecretEnv,
    ) -> Result<BTreeMap<String, String>, Problem> {
        let mut next = kept;
        for name in plain {
            next.remove(name);
        }
        for (name, value) in &changes.0 {
            match value {
                Some(value) => {
                    let sealed = self.inner.engine.seal_variable(endpoint, name, value)?;
                    next.insert(name.clone(), sealed);
                }
                None => drop(next.remove(name)),
            }
        }
        Ok(next)
    }
}
