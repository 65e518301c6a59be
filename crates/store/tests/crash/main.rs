//! What survives when the process dies. Each test runs this binary again as a child that commits to a store and
//! says on its standard output what was acknowledged; the child is killed, or ends itself at a named point, and
//! the store it leaves is opened and checked. One more test watches the child's system calls: nothing is
//! acknowledged before it is synced. And one has its writes refused for a quota.
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod audit;
mod child;
mod kill;
mod points;
mod quota;
mod sync;
