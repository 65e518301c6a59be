//! manage: to come.
