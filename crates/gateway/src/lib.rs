//! gateway: to come.
