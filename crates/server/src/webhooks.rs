//! Webhooks as the configuration wants them.

use runyard_domain::delivery::Patience;
use runyard_engine::Engine;
use runyard_webhooks::{Options, Reach, Webhooks};

use crate::config::Config;
use crate::serve::Mode;

/// Which addresses may be called for users.
fn reach(private: bool, mode: Mode) -> Reach {
    match mode {
        _ if private => Reach::Anywhere,
        Mode::Dev => Reach::PublicAndLoopback,
        Mode::Up => Reach::Public,
    }
}

impl Config {
    /// Where repositories may be read from.
    pub(crate) fn git_reach(&self, mode: Mode) -> Reach {
        reach(self.git_allow_private, mode)
    }

    /// What delivers webhooks. In development receivers may run on the same machine.
    pub(crate) fn webhooks(&self, engine: &Engine, mode: Mode) -> Webhooks {
        let signer = engine.vault().signer().filter(|_| self.webhook_sign).cloned();
        let reach = reach(self.webhook_allow_private, mode);
        let max_age_ms = i64::try_from(self.webhook_max_age_s).unwrap_or(i64::MAX).saturating_mul(1_000);
        let patience = Patience { tries: self.webhook_tries, max_age_ms };
        Webhooks::new(Options { signer, patience, reach, ..Options::new(engine.clone()) })
    }
}
