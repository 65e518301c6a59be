//! How many lines match over time, by level: the histogram above a log. It costs at most so much, and says where it
//! stopped.

use axum::Json;
use axum::extract::{Query, State};
use runyard_domain::Timestamp;
use runyard_logs::{Counts, Query as LogQuery, Reader};
use serde_json::{Value, json};

use super::asked::{Asked, How};
use super::blocking;
use crate::Manage;
use crate::auth::Auth;
use crate::problem::Problem;

/// The most bytes of logs, unpacked, that one answer looks at.
const MOST_BYTES: u64 = 32 << 20;

/// How far back it goes where no beginning is named, in milliseconds.
const USUAL_MS: i64 = 3_600_000;

/// The most steps, and how many there are where nothing is said.
const STEPS: (usize, usize) = (240, 60);

/// Parameters that only lines have.
const OF_LINES: [&str; 5] = ["limit", "context", "seq", "follow", "stream"];

/// Why a call with these parameters is refused, where it is; for the fuzz targets.
pub(in crate::logs) fn refusal(pairs: &[(String, String)]) -> Option<String> {
    parse(pairs).err().map(|problem| problem.words())
}

/// The filter, and the number of steps.
fn parse(pairs: &[(String, String)]) -> Result<(Asked, usize), Problem> {
    let mut steps = STEPS.1;
    let mut filter = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        match name.as_str() {
            "steps" => {
                let wanted = value.parse::<usize>().ok().filter(|steps| (1..=STEPS.0).contains(steps));
                let wrong = || Problem::invalid(format!("steps is a number, 1 to {}", STEPS.0));
                steps = wanted.ok_or_else(wrong)?;
            }
            name if OF_LINES.contains(&name) => {
                return Err(Problem::invalid(format!("counts have no parameter '{name}': lines have")));
            }
            _ => filter.push((name.clone(), value.clone())),
        }
    }
    let asked = Asked::parse(&filter)?;
    debug_assert!(matches!(asked.how, How::Newest { context: 0 }));
    Ok((asked, steps))
}

pub(crate) async fn read(
    State(manage): State<Manage>,
    auth: Auth,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Problem> {
    let (asked, steps) = parse(&pairs)?;
    let queries = asked.queries(&manage, &auth.0)?;
    asked.is_known(&manage, &auth.0)?;
    let counts = range(&asked, steps, manage.inner.engine.now())?;
    let reader = Reader::open(&manage.inner.logs);
    let _turn = manage.inner.searches.acquire().await;
    let counts = blocking(move || count(&reader, &queries, counts)).await?;
    let level = |place: usize| counts.steps.iter().map(|step| step[place]).collect::<Vec<u64>>();
    Ok(Json(json!({
        "since": counts.since,
        "until": counts.until(),
        "stepMs": counts.step_ms,
        "at": (0..counts.steps.len() as i64).map(|n| counts.since.0 + n * counts.step_ms).collect::<Vec<_>>(),
        "counts": {"debug": level(0), "info": level(1), "warn": level(2), "error": level(3)},
        "lines": counts.lines(),
        "countedSince": counts.counted_since.unwrap_or(counts.since),
        "partial": counts.counted_since.is_some(),
    })))
}

/// The steps of the time that is asked for.
fn range(asked: &Asked, steps: usize, now: Timestamp) -> Result<Counts, Problem> {
    let (since, until) = asked.times();
    let until = until.unwrap_or(now);
    let since = since.unwrap_or(until.plus(-USUAL_MS));
    let length = until.0.checked_sub(since.0).filter(|length| *length > 0);
    let length = length.ok_or_else(|| Problem::invalid("'since' is not before 'until'"))?;
    let step_ms = length.div_euclid(steps as i64) + 1;
    Ok(Counts::new(since, step_ms, steps))
}

fn count(reader: &Reader, queries: &[LogQuery], mut counts: Counts) -> Result<Counts, Problem> {
    let mut left = MOST_BYTES;
    for query in queries {
        left = reader.count(query, &mut counts, left).map_err(|error| Problem::internal(&error))?;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn counts_take_the_filter_of_lines_and_no_more() {
        assert_eq!(
            refusal(&pairs(&[("endpoint", "e"), ("q", "x"), ("level", "warn"), ("steps", "10")])),
            None
        );
        for bad in [("limit", "1"), ("steps", "0"), ("steps", "241"), ("follow", "true"), ("x", "y")] {
            assert!(refusal(&pairs(&[bad])).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn steps_hold_the_whole_time_and_an_empty_one_is_refused() {
        let of = |since: &str, until: &str| {
            let (asked, steps) = parse(&pairs(&[("since", since), ("until", until), ("steps", "7")])).ok()?;
            range(&asked, steps, Timestamp(1_000)).ok()
        };
        let counts = of("100", "200").expect("a range");
        assert!(counts.since == Timestamp(100) && counts.until() > Timestamp(200), "{counts:?}");
        assert!(of("200", "200").is_none() && of("-9223372036854775808", "9223372036854775807").is_none());
    }
}
