//! engine: to come.
