//! server: to come.
