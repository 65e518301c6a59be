//! cli: to come.

fn main() {}
