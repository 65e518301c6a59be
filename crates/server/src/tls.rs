//! The listener's certificate while a server runs: looked at every few seconds and on SIGHUP.

use std::path::Path;
use std::time::Duration;

use runyard_listener::{Tls, TlsError};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Door;
use crate::{ServerError, acme};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The certificate that the configuration names, if it names one. What an authority gives lies in `folder`.
pub fn load(door: &Door, folder: &Path) -> Result<Option<Tls>, ServerError> {
    if let Some(acme) = &door.acme {
        return acme::load(acme, folder).map(Some);
    }
    let Some((cert, key)) = &door.tls else { return Ok(None) };
    Ok(Some(Tls::load(cert, key)?))
}

/// Brings new files into force for new connections, as long as the server runs.
pub async fn keep_fresh(tls: Tls) {
    let mut asked = match signal(SignalKind::hangup()) {
        Ok(asked) => asked,
        Err(error) => {
            tracing::warn!(%error, "SIGHUP cannot be heard: certificates are read again only when they change");
            return watch(&tls).await;
        }
    };
    loop {
        tokio::select! {
            () = watch(&tls) => {}
            _ = asked.recv() => tell(&tls, tls.reload()),
        }
    }
}

async fn watch(tls: &Tls) {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Some(outcome) = tls.look() {
            tell(tls, outcome);
        }
    }
}

fn tell(tls: &Tls, outcome: Result<(), TlsError>) {
    match outcome {
        Ok(()) => tracing::info!(file = %tls.cert().display(), "The certificate was read again"),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "The new certificate cannot be used; the old one stays in force");
        }
    }
}
