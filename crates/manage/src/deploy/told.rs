//! What a deploy tells: its lines, its log, and how it ended.

use runyard_domain::{FailReason, Timestamp};
use runyard_logs::{Level, Source};
use serde_json::json;

use super::Deploy;
use crate::views;

impl Deploy {
    /// Says how it ended.
    pub(super) fn close(mut self, outcome: Result<(), FailReason>) {
        let reason = outcome.err();
        if let Some(reason) = &reason {
            let step = match reason {
                FailReason::Environment { .. } => "environment",
                FailReason::RolledBack { .. } => "rollout",
                FailReason::Image { .. } => "image",
                FailReason::Build { .. } => "build",
                _ => "test",
            };
            self.say(step, "failed", &reason.sentence());
        }
        let serving = self.manage.inner.engine.endpoint_by_id(&self.endpoint.id).and_then(|e| e.serving);
        let url = format!("{}/v2/{}", self.manage.inner.info.url, self.endpoint.name);
        let _ = self.lines.send(json!({
            "done": true, "ok": reason.is_none(), "release": self.release.number, "url": url,
            "serving": serving, "reason": reason.as_ref().map(views::fail_reason),
        }));
        if let Some(mut log) = self.log.take() {
            // It stays readable where it cannot be packed.
            tokio::task::spawn_blocking(move || log.finish());
        }
    }

    pub(super) fn note(&mut self, message: &str) {
        if let Some(log) = self.log.as_mut() {
            let _ = log.note(self.manage.inner.engine.now(), Source::Build, Level::Info, None, message);
        }
    }

    pub(crate) fn say(&mut self, step: &str, state: &str, message: &str) {
        self.note(&format!("{step} {state}: {message}"));
        let _ = self.lines.send(json!({"step": step, "state": state, "message": message, "ms": null}));
    }

    pub(crate) fn say_since(&mut self, step: &str, state: &str, message: &str, since: Timestamp) {
        self.note(&format!("{step} {state}: {message}"));
        let ms = self.manage.inner.engine.now().since(since);
        let _ = self.lines.send(json!({"step": step, "state": state, "message": message, "ms": ms}));
    }
}
