//! Named points at which a test can end the process as a power cut would: `RUNYARD_CRASH_AT=<name>` aborts it
//! there. Without the cargo feature `crash-points` this compiles to nothing.
//!
//! The points, in the order of a commit: `blob-written` (a large payload is synced, nothing names it yet),
//! `before-commit`, `after-commit` (durable, nobody has been told), `before-unlink` (durable, files that no row
//! names any more are still there).

/// Ends the process here if the environment says so.
#[cfg(feature = "crash-points")]
pub fn point(name: &'static str) {
    static WHERE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let at = WHERE.get_or_init(|| std::env::var("RUNYARD_CRASH_AT").ok());
    if at.as_deref() == Some(name) {
        std::process::abort();
    }
}

/// Nothing: the crash points are not compiled in.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn point(_name: &'static str) {}
