//! What the workers of an endpoint printed: how much of which level and when, searched, in context, and as it comes.

mod histogram;

use askama::Template;
use serde::Deserialize;

use crate::call::{Trouble, encoded};
use crate::frame::Frame;
use crate::pages::endpoint::Head;
use crate::pages::page;
use crate::place::{Query, Tab};
use crate::range;
use crate::session::Visit;
use crate::views::Record;
use histogram::Histogram;

/// As many lines are shown.
pub(crate) const LINES: usize = 300;

/// Lines before and after one that is shown in context.
const CONTEXT: u32 = 50;

#[derive(Deserialize)]
pub(crate) struct Records {
    pub(crate) records: Vec<Record>,
    #[serde(default)]
    pub(crate) more: bool,
}

/// Filters that go to the API as they are: its parameter, the flag of the command line, and what a chip says.
const PLAIN: [(&str, &str, &str); 8] = [
    ("level", "--level", "level"),
    ("source", "--source", "source"),
    ("worker", "--worker", "worker"),
    ("job", "--job", "job"),
    ("release", "--release", "release"),
    ("build", "--build", "build of release"),
    ("where", "--where", "field"),
    ("q", "--search", "text"),
];

/// What the address asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    values: Vec<(&'static str, String)>,
    /// The text is a regular expression.
    regex: bool,
    since: Option<i64>,
    until: Option<i64>,
}

impl Filter {
    pub(crate) fn of(query: &Query, now: i64) -> Self {
        let value = |name: &'static str| query.get(name).map(|value| (name, value.trim().to_owned()));
        Self {
            values: PLAIN.iter().filter_map(|(name, ..)| value(name)).collect(),
            regex: query.get("regex").is_some(),
            since: query.get("since").and_then(|text| moment(text, now)),
            until: query.get("until").and_then(|text| moment(text, now)),
        }
    }

    fn get(&self, name: &str) -> &str {
        self.values.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value.as_str())
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.since.is_none() && self.until.is_none()
    }

    /// As the API takes it.
    pub(crate) fn api(&self, endpoint: &str) -> String {
        let mut out = format!("endpoint={}", encoded(endpoint));
        for (name, value) in &self.values {
            let name = if *name == "q" && self.regex { "regex" } else { name };
            out.extend(["&", name, "=", &encoded(value)]);
        }
        for (name, at) in [("since", self.since), ("until", self.until)] {
            if let Some(at) = at {
                out.extend(["&", name, "=", &at.to_string()]);
            }
        }
        out
    }

    /// The same on the command line.
    fn command(&self, endpoint: &str) -> String {
        let mut out = format!("runyard logs {endpoint}");
        for (name, value) in &self.values {
            let flag = PLAIN.iter().find(|(found, ..)| found == name).map_or("", |(_, flag, _)| flag);
            let flag = if *name == "q" && self.regex { "--grep" } else { flag };
            out.extend([" ", flag, " ", &crate::code::quoted(value)]);
        }
        for (flag, at) in [(" --since ", self.since), (" --until ", self.until)] {
            if let Some(at) = at {
                out.extend([flag, &crate::show::iso(at)]);
            }
        }
        out
    }
}

/// A moment of the address: so long ago (`15m`, `6h`), or a date.
fn moment(text: &str, now: i64) -> Option<i64> {
    let text = text.trim();
    let units = [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let ago = units.iter().find_map(|(unit, ms)| {
        let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
        (0..=100_000).contains(&number).then_some(now - number * ms)
    });
    ago.or_else(|| range::moment(text))
}

/// A filter that holds, and the address without it.
struct Chip {
    word: String,
    without: String,
}

#[derive(Template)]
#[template(path = "logs.html", blocks = ["head"])]
pub(crate) struct Logs {
    head: Head,
    frame: Frame,
    records: Vec<Record>,
    /// Whether older lines fit, too.
    more: bool,
    filter: Filter,
    /// What stands in the fields for times.
    times: [String; 2],
    chips: Vec<Chip>,
    histogram: Option<Histogram>,
    /// The address, for what follows and what is kept.
    query: String,
    older: Option<String>,
    /// The call of the API that has these lines.
    curl: String,
    /// The number of the line whose surroundings are shown.
    around: Option<u64>,
    wrong: Option<String>,
    levels: [&'static str; 4],
    sources: [&'static str; 4],
}

page!(Logs: "head" = as_head);

impl Logs {
    fn rows(&self) -> String {
        Lines { records: &self.records, endpoint: &self.head.endpoint.name }.html()
    }

    /// Whether lines that come belong to what is shown.
    fn is_open(&self) -> bool {
        self.filter.until.is_none() && self.around.is_none() && self.wrong.is_none()
    }
}

/// Rows of a log, on the page and as they come.
#[derive(Template)]
#[template(path = "lines.html")]
pub(crate) struct Lines<'a> {
    pub(crate) records: &'a [Record],
    pub(crate) endpoint: &'a str,
}

impl Lines<'_> {
    pub(crate) fn html(&self) -> String {
        self.render().unwrap_or_default()
    }
}

/// Loads it.
pub(crate) async fn load(visit: &Visit, ep: &str, query: &Query) -> Result<Logs, Trouble> {
    let (head, mut frame) = Head::load(visit, ep, Tab::Logs, query).await?;
    let name = head.endpoint.name.clone();
    let filter = Filter::of(query, frame.now);
    let around = query.get("seq").and_then(|seq| seq.parse::<u64>().ok());
    let path = match around {
        Some(seq) => format!("/api/v1/logs?{}&seq={seq}&context={CONTEXT}", filter.api(&name)),
        None => format!("/api/v1/logs?{}&limit={LINES}", filter.api(&name)),
    };
    // What is wrong with a filter is said beside it.
    let (found, wrong) = match visit.get::<Records>(&path).await {
        Ok(found) => (found, None),
        Err(trouble) if trouble.status.is_client_error() => {
            (Records { records: Vec::new(), more: false }, Some(trouble.words()))
        }
        Err(trouble) => return Err(trouble),
    };
    let Records { records, more } = found;
    let oldest = records.first().map(|record| record.at);
    let histogram = match (around, &wrong) {
        (None, None) => Histogram::load(visit, &name, &filter, query, oldest, frame.now).await,
        _ => None,
    };
    frame.same.cli = vec![
        format!("{} -f", filter.command(&name)),
        format!("{} --counts", filter.command(&name)),
        format!("{} --newest-first --jsonl > all.jsonl", filter.command(&name)),
    ];
    frame.same.api = vec![format!("GET {path}"), format!("GET /api/v1/logs/counts?{}", filter.api(&name))];
    let older = oldest.filter(|_| more).map(|at| format!("?{}", query.with("until", &at.to_string())));
    let times = ["since", "until"].map(|name| query.get(name).unwrap_or_default().to_owned());
    Ok(Logs {
        chips: chips(&filter, query),
        histogram,
        older,
        query: query.text(),
        curl: crate::code::get(&visit.console.inner.url, &path, visit.console.inner.open),
        around,
        wrong,
        more,
        records,
        filter,
        times,
        head,
        frame,
        levels: ["debug", "info", "warn", "error"],
        sources: ["stdout", "stderr", "system", "build"],
    })
}

fn chips(filter: &Filter, query: &Query) -> Vec<Chip> {
    let word = |name: &str| PLAIN.iter().find(|(found, ..)| *found == name).map_or("", |(.., word)| word);
    let mut chips: Vec<Chip> = filter
        .values
        .iter()
        .map(|(name, value)| {
            let value: String = value.chars().take(60).collect();
            Chip { word: format!("{} {value}", word(name)), without: format!("?{}", query.with(name, "")) }
        })
        .collect();
    for (name, at) in [("since", filter.since), ("until", filter.until)] {
        if let Some(at) = at {
            let word = format!("{name} {}", crate::show::moment(at));
            chips.push(Chip { word, without: format!("?{}", query.with(name, "")) });
        }
    }
    chips
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    #[test]
    fn a_filter_is_the_same_in_the_address_the_api_and_the_command() {
        let query = Query::parse("q=out of%20memory&regex=1&level=warn&since=1h&where=a>5&empty=");
        let filter = Filter::of(&query, NOW);
        let since = NOW - 3_600_000;
        assert_eq!(
            filter.api("t2i"),
            format!("endpoint=t2i&level=warn&where=a%3E5&regex=out%20of%20memory&since={since}")
        );
        assert!(
            filter.command("t2i").contains("--grep 'out of memory' --since 2023-11-14T"),
            "{}",
            filter.command("t2i")
        );
        let chips = chips(&filter, &query);
        assert_eq!(chips.len(), 4);
        assert!(chips[0].word == "level warn" && !chips[0].without.contains("level="));
    }

    #[test]
    fn moments_are_ago_or_dates() {
        assert_eq!(moment("15m", NOW), Some(NOW - 900_000));
        assert_eq!(moment("1970-01-01T00:00:01Z", NOW), Some(1_000));
        for odd in ["m", "-5m", "999999999h", "soon", "é"] {
            assert_eq!(moment(odd, NOW), None, "{odd}");
        }
    }
}
