//! What a call asks of the logs: its parameters as queries, one for each endpoint that it is about.

use std::fmt::Display;

use runyard_domain::{Access, EndpointId, JobId, Timestamp, WorkerId};
use runyard_logs::{Condition, Level, Pattern, Query, Reader, Source};
use runyard_vault::Caller;

use crate::Manage;
use crate::problem::Problem;

/// The most records of one answer, and what it has where nothing is said.
const LIMIT: (usize, usize) = (5_000, 200);
/// The most records of one answer with lines around them, and the most such lines before and after each.
const CONTEXT: (usize, u64) = (200, 100);
/// The most conditions of a call.
const CONDITIONS: usize = 16;

/// How the answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The newest records as one document, with lines around each.
    Newest { context: u64 },
    /// Records as they are found, newest first.
    Found,
    /// The newest records, then new ones as they come.
    Follow,
}

/// A call's parameters, read.
pub(crate) struct Asked {
    endpoint: Option<String>,
    /// All but the endpoint.
    query: Query,
    pub(crate) how: How,
}

fn parsed<T, E: Display>(read: Result<T, E>) -> Result<T, Problem> {
    read.map_err(|error| Problem::invalid(error.to_string().replace(char::is_control, "")))
}

impl Asked {
    pub(crate) fn parse(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut asked =
            Self { endpoint: None, query: Query::new(EndpointId::new("")), how: How::Newest { context: 0 } };
        let (mut follow, mut stream, mut limit, mut context) = (false, false, None, 0);
        for (name, value) in pairs {
            let query = &mut asked.query;
            match name.as_str() {
                "endpoint" => asked.endpoint = Some(value.clone()),
                "job" => query.job = Some(parsed(JobId::parse(value))?),
                "worker" => query.worker = Some(parsed(WorkerId::parse(value))?),
                "build" => query.build = Some(number(name, value)?),
                "release" => query.release = Some(number(name, value)?),
                "level" => query.level = Some(level(value)?),
                "source" => query.source = Some(source(value)?),
                "q" | "regex" if query.pattern.is_some() => {
                    return Err(Problem::invalid("q and regex are one or the other, and once"));
                }
                "q" => query.pattern = Some(parsed(Pattern::text(value))?),
                "regex" => query.pattern = Some(parsed(Pattern::regex(value))?),
                "where" if query.conditions.len() >= CONDITIONS => {
                    return Err(Problem::invalid(format!("there may be {CONDITIONS} conditions")));
                }
                "where" => query.conditions.push(parsed(Condition::parse(value))?),
                "since" => query.since = Some(moment(name, value)?),
                "until" => query.until = Some(moment(name, value)?),
                "seq" => query.numbers = vec![number(name, value).map(|seq| seq..=seq)?],
                "limit" => limit = Some(number::<usize>(name, value)?),
                "context" => context = number(name, value)?,
                "follow" => follow = truth(name, value)?,
                "stream" => stream = truth(name, value)?,
                _ => return Err(Problem::invalid(format!("this call has no parameter '{}'", shown(name)))),
            }
        }
        asked.how = match (follow, stream, context) {
            (false, false, 0..=CONTEXT_LINES) => How::Newest { context },
            (true, false, 0) => How::Follow,
            (false, true, 0) => How::Found,
            (false, false, _) => {
                return Err(Problem::invalid(format!("context is at most {CONTEXT_LINES} lines")));
            }
            _ => return Err(Problem::invalid("follow, stream and context are one of them")),
        };
        asked.query.limit = match asked.how {
            How::Found => limit.unwrap_or(usize::MAX),
            How::Newest { context: 1.. } => limit.unwrap_or(LIMIT.1).clamp(1, CONTEXT.0),
            _ => limit.unwrap_or(LIMIT.1).clamp(1, LIMIT.0),
        };
        asked.check()?;
        Ok(asked)
    }

    fn check(&self) -> Result<(), Problem> {
        let query = &self.query;
        if !query.numbers.is_empty() && query.worker.is_none() && query.build.is_none() {
            return Err(Problem::invalid("seq is a number of one worker's or build's lines: name it"));
        }
        if self.how == How::Follow && query.until.is_some() {
            return Err(Problem::invalid(
                "what is followed has no end: follow and until are one or the other",
            ));
        }
        let is_one = self.endpoint.is_some() || query.job.is_some() || query.worker.is_some();
        if self.how == How::Found && !is_one {
            return Err(Problem::invalid("a stream is of one endpoint, worker or job: name it"));
        }
        Ok(())
    }

    /// From when on, and until when.
    pub(crate) fn times(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        (self.query.since, self.query.until)
    }

    /// A query for each endpoint that the call is about.
    pub(crate) fn queries(&self, manage: &Manage, caller: &Caller) -> Result<Vec<Query>, Problem> {
        let endpoints = self.endpoints(manage, caller)?;
        let query = |endpoint: EndpointId| {
            let level = self.query.level.or_else(|| self.usual_level(manage, &endpoint));
            Query { endpoint, level, ..self.query.clone() }
        };
        Ok(endpoints.into_iter().map(query).collect())
    }

    /// What an endpoint shows where no level is asked for. What installers say is shown as a whole.
    fn usual_level(&self, manage: &Manage, endpoint: &EndpointId) -> Option<Level> {
        let usual = manage.inner.engine.endpoint_by_id(endpoint)?.settings.log_level;
        Some(Level::from(usual)).filter(|level| *level != Level::Debug && self.query.build.is_none())
    }

    /// The endpoint that is named, or that the job or worker belongs to, or all that the caller sees.
    fn endpoints(&self, manage: &Manage, caller: &Caller) -> Result<Vec<EndpointId>, Problem> {
        if let Some(ep) = &self.endpoint {
            return Ok(vec![manage.endpoint(caller, Access::Read, ep)?.id.clone()]);
        }
        let engine = &manage.inner.engine;
        if let Some(job) = &self.query.job
            && let Some(job) = engine.job(job)?
        {
            return if caller.sees(&job.endpoint) { Ok(vec![job.endpoint]) } else { Ok(Vec::new()) };
        }
        if let Some(worker) = &self.query.worker
            && let Some(record) = engine.reader().worker(worker)?
        {
            return if caller.sees(&record.endpoint) { Ok(vec![record.endpoint]) } else { Ok(Vec::new()) };
        }
        // Records of jobs and workers go before their lines do: those are looked for everywhere.
        let all = engine.endpoints().into_iter().map(|endpoint| endpoint.id.clone());
        let seen: Vec<EndpointId> = all.filter(|id| caller.sees(id)).collect();
        if let Some(worker) = &self.query.worker {
            let reader = Reader::open(&manage.inner.logs);
            return Ok(seen.into_iter().filter(|id| reader.has_worker(id, worker)).collect());
        }
        Ok(seen)
    }

    /// Whether the job or worker that is named is one that the caller sees. Asked where nothing was found of it.
    pub(crate) fn is_known(&self, manage: &Manage, caller: &Caller) -> Result<(), Problem> {
        if self.endpoint.is_some() {
            return Ok(());
        }
        if let Some(job) = &self.query.job {
            manage.find_job(caller, job.as_str())?;
        }
        if let Some(worker) = &self.query.worker
            && self.endpoints(manage, caller)?.is_empty()
        {
            return Err(Problem::not_found(format!("there is no worker '{worker}'")));
        }
        Ok(())
    }
}

const CONTEXT_LINES: u64 = CONTEXT.1;

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, Problem> {
    value.parse().map_err(|_| Problem::invalid(format!("{name} is a number, and '{}' is none", shown(value))))
}

fn truth(name: &str, value: &str) -> Result<bool, Problem> {
    let wrong = || Problem::invalid(format!("{name} is true or false, not '{}'", shown(value)));
    value.parse().map_err(|_| wrong())
}

fn level(word: &str) -> Result<Level, Problem> {
    let wrong = || Problem::invalid(format!("level '{}' is none of debug, info, warn, error", shown(word)));
    Level::from_word(word).ok_or_else(wrong)
}

fn source(word: &str) -> Result<Source, Problem> {
    Ok(match word {
        "stdout" => Source::Stdout,
        "stderr" => Source::Stderr,
        "system" => Source::System,
        "build" => Source::Build,
        _ => {
            let message = format!("source '{}' is none of stdout, stderr, system, build", shown(word));
            return Err(Problem::invalid(message));
        }
    })
}

/// A point in time: milliseconds since 1970, or as RFC 3339 has it.
fn moment(name: &str, value: &str) -> Result<Timestamp, Problem> {
    let ms = value.parse::<i64>().ok();
    let ms = ms.or_else(|| value.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond));
    ms.map(Timestamp).ok_or_else(|| {
        let what = "milliseconds since 1970, or a time as 2026-01-31T00:00:00Z";
        Problem::invalid(format!("{name} is {what}, and '{}' is neither", shown(value)))
    })
}

/// Reads parameters as the call does; for the fuzz targets.
pub(in crate::logs) fn probe(pairs: &[(String, String)]) -> Result<(), String> {
    Asked::parse(pairs).map(drop).map_err(|problem| problem.words())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Asked, Problem> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Asked::parse(&pairs)
    }

    fn fine(asked: Result<Asked, Problem>) -> Asked {
        asked.unwrap_or_else(|problem| panic!("{}", problem.words()))
    }

    #[test]
    fn parameters_are_read_and_bounded() {
        let asked =
            parse(&[("q", "x"), ("limit", "99999"), ("since", "1970-01-01T00:00:01Z"), ("until", "7")]);
        let query = fine(asked).query;
        assert_eq!(
            (query.limit, query.since, query.until),
            (5_000, Some(Timestamp(1_000)), Some(Timestamp(7)))
        );
        let asked = fine(parse(&[("context", "3"), ("limit", "5000")]));
        assert_eq!((asked.how, asked.query.limit), (How::Newest { context: 3 }, 200));
        let asked = fine(parse(&[("stream", "true"), ("endpoint", "e")]));
        assert_eq!((asked.how, asked.query.limit), (How::Found, usize::MAX));
        let many = vec![("where", "a=b"); 17];
        for bad in [
            &[("x", "y")][..],
            &[("level", "loud")],
            &[("source", "x")],
            &[("limit", "-1")],
            &[("follow", "maybe")],
            &[("since", "1e99")],
            &[("regex", "(")],
            &[("q", "a"), ("regex", "a")],
            &[("where", "a")],
            &many,
            &[("context", "101")],
            &[("context", "1"), ("follow", "true")],
            &[("seq", "1")],
            &[("stream", "true")],
            &[("follow", "true"), ("until", "1")],
            &[("worker", "../x")],
            &[("job", "\0")],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
