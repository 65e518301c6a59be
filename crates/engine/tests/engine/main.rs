//! The engine on the model of the store, with a clock that the tests set. Nothing here waits for real time: a
//! test says how far the clock goes, and looks when everything has come to rest.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::cloned_ref_to_slice_refs, reason = "lists of one read like lists of two")]

mod batches;
mod draining;
mod dropped;
mod failures;
mod limits;
mod lists;
mod lists_end;
mod payloads;
mod pings;
mod restart;
mod simulation;
mod stage;
mod stops;
mod submit;
mod takes;
