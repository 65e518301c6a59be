//! The keys of a server, beside its API: the first one, without which nobody could make another, and when each was used
//! last.

use std::time::Duration;

use runyard_domain::Access;
use runyard_engine::{Deed, Engine, Trail};
use runyard_vault::KeyRequest;

use crate::ServerError;
use crate::serve::Mode;

/// How often the last uses of keys are written.
const WRITE_USES: Duration = Duration::from_mins(1);

/// A key that was made because there was none.
#[derive(Debug, Clone)]
pub struct FirstKey {
    /// The key: to be written into the credentials file and shown once.
    pub key: String,
    /// Whether `RUNYARD_API_KEY` brought it.
    pub given: bool,
}

/// Writes every so often when keys were last used: not with each request.
pub(crate) async fn write_key_uses(engine: Engine) {
    loop {
        tokio::time::sleep(WRITE_USES).await;
        if let Err(error) = engine.write_key_uses().await {
            tracing::warn!(%error, "the uses of keys were not written");
        }
    }
}

/// The shortest key that may be brought along.
const SHORTEST_KEY: usize = 16;

/// What the audit log tells of the first key.
fn first_of_all() -> Trail {
    let who = runyard_vault::OWNER.to_owned();
    Trail::new(Deed { who, action: "key.create".to_owned(), ..Deed::default() })
}

/// The first key, where there is none yet: made, or brought by `RUNYARD_API_KEY`. Later that variable changes
/// nothing here: it is also what the command line sends, perhaps to another server.
pub(crate) async fn first_key(engine: &Engine, mode: Mode) -> Result<Option<FirstKey>, ServerError> {
    if mode == Mode::Dev || !engine.reader().keys()?.is_empty() {
        return Ok(None);
    }
    let vault = engine.vault();
    let request =
        KeyRequest { name: "first".into(), access: Access::Admin, endpoints: Vec::new(), expires_at: None };
    let given = std::env::var("RUNYARD_API_KEY").unwrap_or_default().trim().to_owned();
    if given.is_empty() {
        let (record, key) = vault.make_key(request);
        first_of_all().scope(engine.put_key(record)).await?;
        return Ok(Some(FirstKey { key, given: false }));
    }
    if given.len() < SHORTEST_KEY {
        return Err(ServerError::Config {
            origin: "RUNYARD_API_KEY".to_owned(),
            message: format!(
                "a key has at least {SHORTEST_KEY} characters; without the variable one is made"
            ),
        });
    }
    first_of_all().scope(engine.put_key(vault.record_of(&given, request))).await?;
    Ok(Some(FirstKey { key: given, given: true }))
}
