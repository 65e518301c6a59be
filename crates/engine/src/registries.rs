//! Logins for registries of images: kept with their passwords sealed, opened for whoever pulls or builds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use runyard_domain::registry::{self, Login, Registry, Unfit};
use runyard_store::{Command, StoreError};
use runyard_vault::SealError;

use crate::{Engine, EngineError};

/// No login could be had for an image.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// None can be chosen.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The records could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is kept of one cannot be opened.
    #[error("the registry login '{name}' cannot be opened: {source}")]
    Sealed {
        /// Its name.
        name: String,
        /// Why.
        source: SealError,
    },
}

impl Engine {
    /// Keeps a login under its name, where there was one in its place; `created_by` is who did so.
    pub async fn put_registry(&self, login: &Login, created_by: &str) -> Result<Registry, EngineError> {
        let text = serde_json::to_vec(login).map_err(|_| SealError::Broken)?;
        let sealed = self.vault().seal(&text)?;
        let record = Registry {
            name: login.name.clone(),
            server: login.server.clone(),
            username: login.username.clone(),
            created_at: self.now(),
            created_by: created_by.to_owned(),
            sealed: STANDARD.encode(sealed),
        };
        self.commit_deed(Command::PutRegistry(Box::new(record.clone()))).await?;
        Ok(record)
    }

    /// Removes a login.
    pub async fn drop_registry(&self, name: &str) -> Result<(), EngineError> {
        self.commit_deed(Command::DropRegistry(name.to_owned())).await.map(drop)
    }

    /// The login that an image is pulled with: the named one, else the only one for its registry.
    pub fn login_for(&self, image: &str, named: &str) -> Result<Option<Login>, LoginError> {
        let all = self.reader().registries()?;
        registry::choose(&all, image, named)?.map(|record| self.open_registry(record)).transpose()
    }

    /// The logins of a build: one for each registry, and of those with several the named one.
    pub fn logins_for_build(&self, named: &str) -> Result<Vec<Login>, LoginError> {
        let all = self.reader().registries()?;
        registry::for_build(&all, named).into_iter().map(|record| self.open_registry(record)).collect()
    }

    /// The login that workers of a release pull its image with: the one of its deploy, or, where that is gone, the
    /// one for its registry. One that cannot be had is told by the registry.
    pub fn login_of_release(&self, image: &str, named: Option<&str>) -> Option<Login> {
        let found = match self.login_for(image, named.unwrap_or_default()) {
            Err(LoginError::Unfit(Unfit::Unknown { .. })) => self.login_for(image, ""),
            other => other,
        };
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, image, "an image is pulled without a registry login");
            None
        })
    }

    fn open_registry(&self, record: &Registry) -> Result<Login, LoginError> {
        let failed = |source| LoginError::Sealed { name: record.name.clone(), source };
        let sealed = STANDARD.decode(&record.sealed).map_err(|_| failed(SealError::Broken))?;
        let text = self.vault().unseal(&sealed).map_err(failed)?;
        serde_json::from_slice(&text).map_err(|_| failed(SealError::Broken))
    }
}
