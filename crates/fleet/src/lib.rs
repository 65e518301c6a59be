//! fleet: to come.
