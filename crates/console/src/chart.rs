//! Charts over time: a sentence that says what there is to see, and a table of the same numbers. The table is the chart's
//! data, too: the script of these pages draws what stands in it, so that nothing is there for eyes alone.

use std::fmt::Write as _;

use crate::show::{self, esc};

/// How a chart is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Counts, one upon the other.
    Bars,
    /// Lines.
    Lines,
    /// Levels, one upon the other.
    Area,
    /// Bars from a beginning to an end.
    Spans,
}

/// What its numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    Seconds,
    Bytes,
    Ratio,
    Cores,
    Watts,
    Celsius,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Bars => "bars",
            Self::Lines => "lines",
            Self::Area => "area",
            Self::Spans => "spans",
        }
    }
}

impl Unit {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Ratio => "ratio",
            Self::Cores => "cores",
            Self::Watts => "watts",
            Self::Celsius => "celsius",
        }
    }

    /// What a table says in brackets behind a name.
    fn mark(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Seconds => " (s)",
            Self::Bytes => " (bytes)",
            Self::Ratio => " (share)",
            Self::Cores => " (cores)",
            Self::Watts => " (W)",
            Self::Celsius => " (°C)",
        }
    }

    /// A value in words.
    pub(crate) fn say(self, value: f64) -> String {
        match self {
            Self::Seconds => show::span((value * 1_000.0).round() as i64),
            Self::Bytes => show::bytes(value.max(0.0) as u64),
            Self::Ratio => format!("{:.0} %", value * 100.0),
            Self::Cores => format!("{value:.2}"),
            Self::Watts => format!("{value:.0} W"),
            Self::Celsius => format!("{value:.0} °C"),
            Self::Count if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Count => format!("{value:.1}"),
        }
    }
}

/// A line, or a part of the bars.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its colour: a word of the style sheet.
    pub(crate) tone: &'static str,
    /// A line, also where the chart has bars.
    pub(crate) line: bool,
    /// The range before, drawn dashed.
    pub(crate) before: bool,
    pub(crate) values: Vec<Option<f64>>,
}

/// A chart.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) id: String,
    pub(crate) title: String,
    /// What there is to see, as HTML.
    pub(crate) says: String,
    pub(crate) kind: Kind,
    pub(crate) unit: Unit,
    pub(crate) at: Vec<i64>,
    pub(crate) columns: Vec<Column>,
    /// The same from `/metrics`, in Prometheus' language.
    pub(crate) promql: Vec<String>,
    /// Where it is as a file.
    pub(crate) csv: String,
    /// The rows of what begins and ends.
    pub(crate) spans: Vec<Span>,
}

/// Something that began and ended.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) href: String,
    pub(crate) on: String,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) tone: &'static str,
    pub(crate) word: String,
}

impl Chart {
    pub(crate) fn new(id: &str, title: &str, kind: Kind, unit: Unit, at: &[i64]) -> Self {
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            says: String::new(),
            kind,
            unit,
            at: at.to_vec(),
            columns: Vec::new(),
            promql: Vec::new(),
            csv: String::new(),
            spans: Vec::new(),
        }
    }

    /// Whether there is anything but zero.
    pub(crate) fn is_something(&self) -> bool {
        let any = |column: &Column| column.values.iter().flatten().any(|value| *value > 0.0);
        self.columns.iter().any(any) || !self.spans.is_empty()
    }

    /// The table, as HTML.
    pub(crate) fn table(&self) -> String {
        let mut out = format!(
            "<table class=\"plain data\" data-kind=\"{}\" data-unit=\"{}\" data-since=\"{}\" data-until=\"{}\"><caption class=\"hide\">{}</caption><thead><tr>",
            self.kind.word(),
            self.unit.word(),
            self.at.first().copied().unwrap_or_default(),
            self.at.last().copied().unwrap_or_default(),
            esc(&self.title)
        );
        if self.kind == Kind::Spans {
            self.span_rows(&mut out);
        } else {
            self.step_rows(&mut out);
        }
        out.push_str("</tbody></table>");
        out
    }

    fn step_rows(&self, out: &mut String) {
        out.push_str("<th scope=\"col\">From (UTC)</th>");
        for column in &self.columns {
            let line = if column.line { " data-line" } else { "" };
            let before = if column.before { " data-before" } else { "" };
            let _ = write!(
                out,
                "<th scope=\"col\" class=\"num\" data-tone=\"{}\"{line}{before}>{}{}</th>",
                column.tone,
                esc(&column.name),
                self.unit.mark()
            );
        }
        out.push_str("</tr></thead><tbody>");
        let long = self.at.first().zip(self.at.last()).is_some_and(|(first, last)| last - first > 86_400_000);
        for (row, at) in self.at.iter().enumerate() {
            let _ = write!(out, "<tr><th scope=\"row\" data-at=\"{at}\">{}</th>", moment(*at, long));
            for column in &self.columns {
                out.push_str("<td class=\"num\">");
                number(out, column.values.get(row).copied().flatten());
                out.push_str("</td>");
            }
            out.push_str("</tr>");
        }
    }

    fn span_rows(&self, out: &mut String) {
        out.push_str(
            "<th scope=\"col\">Job</th><th scope=\"col\">Worker</th><th scope=\"col\">Outcome</th><th scope=\"col\">From \
             (UTC)</th><th scope=\"col\" class=\"num\">Took</th></tr></thead><tbody>",
        );
        for span in &self.spans {
            let _ = write!(
                out,
                "<tr data-from=\"{}\" data-to=\"{}\" data-tone=\"{}\"><th scope=\"row\"><a class=\"mono\" href=\"{}\">{}</a></th><td \
                 class=\"mono\">{}</td><td>{}</td><td>{}</td><td class=\"num\">{}</td></tr>",
                span.from,
                span.to,
                span.tone,
                esc(&span.href),
                esc(&show::short(&span.name)),
                esc(&show::short(&span.on)),
                esc(&span.word),
                show::clock(span.from),
                show::span(span.to - span.from),
            );
        }
    }

    /// The numbers as a file: times as RFC 3339, what nobody saw empty.
    pub(crate) fn csv(&self) -> String {
        let field = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        if self.kind == Kind::Spans {
            let mut out = "job,worker,outcome,from,to\n".to_owned();
            for span in &self.spans {
                let _ = writeln!(
                    out,
                    "{},{},{},{},{}",
                    field(&span.name),
                    field(&span.on),
                    field(&span.word),
                    show::iso(span.from),
                    show::iso(span.to)
                );
            }
            return out;
        }
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|column| field(&format!("{}{}", column.name, self.unit.mark())))
            .collect();
        let mut out = format!("from,{}\n", names.join(","));
        for (row, at) in self.at.iter().enumerate() {
            out.push_str(&show::iso(*at));
            for column in &self.columns {
                out.push(',');
                if column.values.get(row).copied().flatten().is_some() {
                    number(&mut out, column.values[row]);
                }
            }
            out.push('\n');
        }
        out
    }
}

/// When a step begins, as short as the range allows.
fn moment(at: i64, long: bool) -> String {
    let whole = show::moment(at);
    let from = if long { 5 } else { 11 };
    whole.get(from..19).map_or(whole.clone(), str::to_owned)
}

fn number(out: &mut String, value: Option<f64>) {
    let _ = match value {
        None => out.write_str("–"),
        Some(value) if value.fract() == 0.0 => write!(out, "{value:.0}"),
        Some(value) if value >= 100.0 => write!(out, "{value:.1}"),
        Some(value) => write!(out, "{}", (value * 1e4).round() / 1e4),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        let mut chart = Chart::new("x", "A <b>", Kind::Bars, Unit::Seconds, &[0, 60_000]);
        chart.columns.push(Column {
            name: "p50, \"all\"".into(),
            tone: "ok",
            line: false,
            before: true,
            values: vec![Some(1.23456), None],
        });
        chart
    }

    #[test]
    fn a_table_has_every_number_and_what_nobody_saw_is_none() {
        let table = chart().table();
        assert!(
            table.contains("data-kind=\"bars\" data-unit=\"seconds\" data-since=\"0\"")
                && table.contains("A &lt;b&gt;")
        );
        assert!(
            table.contains("<th scope=\"row\" data-at=\"60000\">00:01:00</th><td class=\"num\">–</td>"),
            "{table}"
        );
        assert!(
            table.contains(">1.2346<") && table.contains(" data-before>p50, &quot;all&quot; (s)"),
            "{table}"
        );
    }

    #[test]
    fn a_file_has_the_same_numbers() {
        assert_eq!(
            chart().csv(),
            "from,\"p50, \"\"all\"\" (s)\"\n1970-01-01T00:00:00Z,1.2346\n1970-01-01T00:01:00Z,\n"
        );
    }

    #[test]
    fn what_is_zero_is_nothing() {
        let mut chart = chart();
        assert!(chart.is_something());
        chart.columns[0].values = vec![Some(0.0), None];
        assert!(!chart.is_something());
    }

    #[test]
    fn amounts_have_their_units() {
        let said = [(Unit::Seconds, 1.5), (Unit::Ratio, 0.254), (Unit::Count, 3.0), (Unit::Count, 0.25)]
            .map(|(unit, value)| unit.say(value));
        assert_eq!(said, ["1.5 s", "25 %", "3", "0.2"]);
    }
}
