//! The conformance suite of the store: every case runs on each implementation, and a property test runs random
//! batches on both and compares what they say.
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

/// Runs the cases, functions of a fresh `Bench`, on every implementation.
macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $case() { super::$case(&mut crate::bench::Bench::memory()); })*
        }
        mod sqlite {
            $(#[test] fn $case() { super::$case(&mut crate::bench::Bench::sqlite()); })*
        }
    };
}

mod batches;
mod bench;
mod ends;
mod failures;
mod lists;
mod loss;
mod metrics;
mod output;
mod queries;
mod queue;
mod random;
mod records;
mod reopen;
mod webhooks;
