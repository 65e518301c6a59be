//! What the worker SDK says between its lines: whose exception it reports in a line that names no job, and of which jobs
//! it could not send the result. It reads lines in their order, so each log has one of it.

use runyard_domain::JobId;
use runyard_domain::reason::said::brief;

use crate::{Record, Running};

/// The line after which the SDK reports an exception.
const CAPTURED: &str = "Captured Handler Exception";
/// How its line begins that says that a result, a part of one or a job's progress could not be sent.
const UNSENT: &str = "Error while returning job result. | ";
/// Its line when it is through with a job: what was not sent by then never is.
const FINISHED: &str = "Finished.";
/// Of so many jobs a failure is remembered.
const REMEMBERED: usize = 64;

/// What was read so far.
#[derive(Debug, Default)]
pub(crate) struct Sdk {
    /// Whose exception the next report is.
    captured: Option<(JobId, Option<u32>)>,
    /// What could not be sent of jobs that it is not through with.
    failing: Vec<(JobId, String)>,
    /// The jobs that it is through with, and why their results never came.
    unsent: Vec<(JobId, String)>,
}

impl Sdk {
    /// Reads a line, and says whose it is where it is the report of an exception.
    pub(crate) fn read(&mut self, record: &mut Record, running: &[Running]) {
        if !record.message.starts_with("{\"requestId\"") {
            return;
        }
        let Some(job) = record.job.clone().filter(|_| !record.inferred) else {
            return self.report(record, running);
        };
        let text = record.text();
        if text == CAPTURED {
            self.captured = Some((job, record.attempt));
        } else if let Some(why) = text.strip_prefix(UNSENT) {
            if self.failing.len() == REMEMBERED {
                self.failing.remove(0);
            }
            self.failing.push((job, brief(why)));
        } else if text == FINISHED {
            let why = self.failing.iter().find(|(failing, _)| *failing == job).map(|(_, why)| why.clone());
            self.failing.retain(|(failing, _)| *failing != job);
            self.unsent.extend(why.map(|why| (job, why)));
        }
    }

    /// The report names no job: it is of the one whose exception was captured just before, else of the only one. Of a
    /// long one the SDK prints the beginning and the end.
    fn report(&mut self, record: &mut Record, running: &[Running]) {
        if record.job.is_some() || !record.message.contains("error_type") {
            return;
        }
        let mut run = running.iter().filter(|held| !held.by_name);
        let only = match (run.next(), run.next()) {
            (Some(only), None) => Some((only.job.clone(), only.attempt)),
            _ => None,
        };
        if let Some((job, attempt)) = self.captured.take().or(only) {
            (record.job, record.attempt, record.inferred) = (Some(job), attempt, true);
        }
    }

    /// The jobs whose results never come, with why; each is told once.
    pub(crate) fn unsent(&mut self) -> Vec<(JobId, String)> {
        std::mem::take(&mut self.unsent)
    }
}
