//! A door to what is read from lines, for the fuzz targets (`crates/fuzz`). No part of the interface.

use runyard_domain::JobId;

use crate::{Level, Running};
use crate::detect::detect;

/// The level and the job that a line names; `running` are the jobs of its worker.
pub fn line(line: &str, running: &[JobId]) -> (Option<Level>, Option<JobId>) {
    let running: Vec<Running> = running.iter().cloned().map(Running::from).collect();
    let found = detect(line, &running);
    (found.level, found.job)
}
