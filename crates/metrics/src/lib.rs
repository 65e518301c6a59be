//! What is counted and measured. [`series`] names every series once, with its kind, its unit and its labels. The store
//! keeps them as [`Interval`]s of [`Grain`]s; [`count`] says what a step of a job, a worker or a webhook adds to one.
//! [`text`] writes what Prometheus reads, [`range`] what the API answers. Pure: no clock, no I/O.

pub mod count;
mod grain;
pub mod histogram;
mod interval;
pub mod range;
pub mod series;
mod subject;
pub mod text;

pub use grain::{Grain, Row};
pub use histogram::{BOUNDS_US, Histogram};
pub use interval::{Interval, Level};
pub use series::{Key, Kind, Of, Series, Unit};
pub use subject::Subject;
