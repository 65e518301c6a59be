//! vault: to come.
