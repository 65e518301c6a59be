//! The listener's certificate from an authority (ACME, RFC 8555), while a server runs: asked for when there is none,
//! renewed when a third of its life is left. The authority connects to the listener itself to see that the names are
//! ours (TLS-ALPN-01, RFC 8737), so no other port and no other program is needed. `order` asks for one certificate,
//! `file` keeps it, `http` carries the requests.

mod file;
mod http;
mod order;

use std::path::{Path, PathBuf};
use std::time::Duration;

use runyard_engine::Engine;
use runyard_listener::Tls;
use tokio::signal::unix::{SignalKind, signal};

use crate::ServerError;
use crate::config::Acme;
use file::Certificate;
use order::AcmeError;

/// The clock is looked at as often as this, since a machine may sleep.
const LOOK: Duration = Duration::from_hours(1);

/// The pause after a first failure; each further one is three times as long. Let's Encrypt allows five failed proofs
/// of a name an hour.
const FIRST_PAUSE: Duration = Duration::from_mins(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(6);

/// Keeps a certificate in force.
pub struct Keeper {
    acme: Acme,
    folder: PathBuf,
    tls: Tls,
    engine: Engine,
}

/// The certificate that an authority gave before, or one that nobody vouches for until it does.
pub fn load(acme: &Acme, folder: &Path) -> Result<Tls, ServerError> {
    let path = file::path(folder);
    if let Ok(tls) = Tls::load(&path, &path) {
        return Ok(tls);
    }
    tracing::info!(names = %acme.domains.join(", "), "There is no certificate yet");
    let place = |source| ServerError::File { operation: "write", path: path.clone(), source };
    file::write(folder, &file::unvouched(&acme.domains).map_err(std::io::Error::other).map_err(place)?)
        .map_err(place)?;
    Ok(Tls::load(&path, &path)?)
}

impl Keeper {
    /// For the listener that `tls` was loaded for.
    pub fn new(acme: Acme, folder: PathBuf, tls: Tls, engine: Engine) -> Self {
        Self { acme, folder, tls, engine }
    }

    /// Sees to it that there is a certificate, as long as the server runs. SIGHUP has it ask again at once.
    pub async fn run(self) {
        let mut asked = signal(SignalKind::hangup()).ok();
        let mut failures = 0;
        loop {
            let wait = match self.due_in() {
                Some(wait) => wait.min(LOOK),
                None => match self.renew().await {
                    Ok(()) => {
                        failures = 0;
                        continue;
                    }
                    Err(error) => {
                        self.tell(&error);
                        failures += 1;
                        pause(failures)
                    }
                },
            };
            let hangup = async {
                match &mut asked {
                    Some(asked) => asked.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = hangup => {}
            }
        }
    }

    /// How long the certificate is good enough; `None`: a new one is due.
    fn due_in(&self) -> Option<Duration> {
        let note = file::note(&self.folder).filter(|note| note.is_for(&self.acme))?;
        let end = self.tls.not_after()?;
        let renew = end - (end - note.since).max(0) / 3;
        let left = renew - self.engine.env().wall().0 / 1_000;
        (left > 0).then(|| Duration::from_secs(left.unsigned_abs()))
    }

    async fn renew(&self) -> Result<(), AcmeError> {
        let (directory, names) = (&self.acme.directory, self.acme.domains.join(", "));
        tracing::info!(%directory, %names, "Asking for a certificate");
        let pem = order::certificate(&self.acme, &self.folder, &self.tls).await?;
        let since = self.engine.env().wall().0 / 1_000;
        let certificate = Certificate { pem, note: Some(file::Note::new(&self.acme, since)) };
        file::check(&self.folder, &certificate)?;
        file::write(&self.folder, &certificate).map_err(AcmeError::Keep)?;
        self.tls.reload()?;
        tracing::info!(%directory, %names, "The certificate is in force");
        Ok(())
    }

    fn tell(&self, error: &AcmeError) {
        let directory = &self.acme.directory;
        self.tls.troubled(format!("no new certificate from {directory}: {}", error.sentence()));
        let error: &dyn std::error::Error = error;
        tracing::error!(error, %directory, "There is no new certificate; it is asked for again in a while, at once on SIGHUP");
    }
}

/// How long to wait after so many failures in a row.
fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(3_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_at_most_fall_into_the_first_hour() {
        let mut at = Duration::ZERO;
        let mut tries = 0;
        while at < Duration::from_hours(1) {
            tries += 1;
            at += pause(tries);
        }
        assert!(tries <= 5, "{tries}");
        assert_eq!(pause(40), LONGEST_PAUSE);
    }

    #[test]
    fn a_first_start_has_a_certificate_that_is_not_taken_for_a_real_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let acme = Acme {
            domains: vec!["gpu.example.org".to_owned()],
            email: None,
            directory: "https://ca.example.org/directory".to_owned(),
        };
        let tls = load(&acme, dir.path()).expect("made");
        assert!(tls.not_after().is_some() && file::note(dir.path()).is_none());
        std::fs::write(file::path(dir.path()), "torn").expect("written");
        load(&acme, dir.path()).expect("made again");
    }
}
