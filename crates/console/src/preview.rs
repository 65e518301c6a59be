//! The output of a job as people want to see it: pictures, sounds, tables, text. What is none of these is JSON, which
//! stands beside it anyway. Everything in here is a worker's, so it is bounded and escaped.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::markdown;
use crate::media::{self, Kind};
use crate::show::{bytes, esc};

/// Bounds: parts, rows and columns of a table, characters of a text, depth.
const MOST_PARTS: usize = 16;
const MOST_ROWS: usize = 100;
const MOST_COLUMNS: usize = 12;
const MOST_TEXT: usize = 20_000;
const DEEPEST: usize = 6;

/// `output` of a job as HTML; empty where there is nothing to show but JSON.
pub(crate) fn render(job: &str, output: &Value) -> String {
    let mut parts = Parts { job, html: String::new(), count: 0 };
    parts.walk(output, "", 0);
    parts.html
}

struct Parts<'a> {
    job: &'a str,
    html: String,
    count: usize,
}

impl Parts<'_> {
    fn walk(&mut self, value: &Value, at: &str, depth: usize) {
        if self.count >= MOST_PARTS || depth > DEEPEST {
            return;
        }
        match value {
            Value::String(text) => self.text(text, at),
            Value::Array(rows) if is_table(rows) => self.table(rows, at),
            Value::Array(items)
                if !items.is_empty() && items.iter().all(Value::is_string) && !has_media(items) =>
            {
                self.stream(items, at);
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate().take(MOST_PARTS) {
                    self.walk(item, &format!("{at}/{index}"), depth + 1);
                }
            }
            Value::Object(fields) => {
                for (name, item) in fields {
                    self.walk(
                        item,
                        &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                        depth + 1,
                    );
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, at: &str) {
        self.count += 1;
        let label = at.trim_start_matches('/').replace('/', ".");
        self.html.push_str("<figure class=\"part\">");
        if !label.is_empty() {
            let _ = write!(self.html, "<figcaption>{}</figcaption>", esc(&label));
        }
    }

    fn end(&mut self) {
        self.html.push_str("</figure>");
    }

    fn text(&mut self, text: &str, at: &str) {
        if let Some((kind, media, size)) = media::glance(text) {
            self.begin(at);
            let href = esc(&media::href(self.job, at));
            let label = at.trim_start_matches('/').replace('/', ".");
            let alt = if label.is_empty() { "the output".to_owned() } else { esc(&label) };
            let _ = match kind {
                Kind::Image => write!(self.html, "<img src=\"{href}\" alt=\"Picture: {alt}\">"),
                Kind::Audio => {
                    write!(self.html, "<audio controls preload=\"metadata\" src=\"{href}\"></audio>")
                }
                Kind::Video => {
                    write!(self.html, "<video controls preload=\"metadata\" src=\"{href}\"></video>")
                }
            };
            let _ = write!(
                self.html,
                "<p class=\"muted\"><a href=\"{href}\" download>Download</a> · {media} · {}</p>",
                bytes(size)
            );
            self.end();
        } else if markdown::is_web(text) && !text.contains(char::is_whitespace) && text.len() < 2_000 {
            self.begin(at);
            // A picture of another server is not fetched: who looks here would be told there.
            let _ = write!(self.html, "<a href=\"{0}\" rel=\"noreferrer noopener\">{0}</a>", esc(text));
            self.end();
        } else if text.contains(char::is_whitespace) && text.len() > 20 {
            self.begin(at);
            self.prose(text);
            self.end();
        }
    }

    /// Strings one after the other, as streams of text are collected.
    fn stream(&mut self, items: &[Value], at: &str) {
        let whole: String = items.iter().filter_map(Value::as_str).collect();
        if whole.contains(char::is_whitespace) {
            self.begin(at);
            self.prose(&whole);
            self.end();
        }
    }

    fn prose(&mut self, text: &str) {
        let shown: String = text.chars().take(MOST_TEXT).collect();
        if markdown::looks_like(&shown) {
            let _ = write!(self.html, "<div class=\"md\">{}</div>", markdown::render(&shown));
        } else {
            let _ = write!(self.html, "<div class=\"prose\">{}</div>", esc(&shown));
        }
        if shown.len() < text.len() {
            self.html.push_str("<p class=\"muted\">The rest is in the JSON.</p>");
        }
    }

    fn table(&mut self, rows: &[Value], at: &str) {
        let objects: Vec<&Map<String, Value>> = rows.iter().filter_map(Value::as_object).collect();
        let mut columns: Vec<&str> = Vec::new();
        for name in objects.iter().take(MOST_ROWS).flat_map(|row| row.keys()) {
            if columns.len() < MOST_COLUMNS && !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
        self.begin(at);
        self.html.push_str("<div class=\"scroll\" tabindex=\"0\"><table class=\"plain\"><thead><tr>");
        for name in &columns {
            let _ = write!(self.html, "<th scope=\"col\">{}</th>", esc(name));
        }
        self.html.push_str("</tr></thead><tbody>");
        for row in objects.iter().take(MOST_ROWS) {
            self.html.push_str("<tr>");
            for name in &columns {
                let value = row.get(*name).unwrap_or(&Value::Null);
                let class = if value.is_number() { " class=\"num\"" } else { "" };
                let _ = write!(self.html, "<td{class}>{}</td>", esc(&cell(value)));
            }
            self.html.push_str("</tr>");
        }
        self.html.push_str("</tbody></table></div>");
        if rows.len() > MOST_ROWS {
            let _ = write!(self.html, "<p class=\"muted\">{MOST_ROWS} of {} rows.</p>", rows.len());
        }
        self.end();
    }
}

fn is_table(rows: &[Value]) -> bool {
    let flat = |row: &Value| {
        let short = |value: &Value| !matches!(value, Value::String(text) if text.len() > 400);
        row.as_object().is_some_and(|fields| !fields.is_empty() && fields.values().all(short))
    };
    !rows.is_empty() && rows.iter().take(MOST_ROWS).all(flat)
}

fn has_media(items: &[Value]) -> bool {
    items.iter().take(MOST_PARTS).any(|item| item.as_str().is_some_and(|text| media::glance(text).is_some()))
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() > 200 { text.chars().take(200).chain(['…']).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_can_be_seen_is_shown() {
        let png = STANDARD.encode([&[0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a][..], &[0; 80]].concat());
        let html = render("j1", &json!({"images": [png.clone(), format!("data:image/png;base64,{png}")]}));
        assert_eq!(html.matches("<img").count(), 2);
        assert!(html.contains("/jobs/j1/media?at=%2Fimages%2F0"), "{html}");
        let html = render("j1", &json!([{"word": "a", "score": 0.5}, {"word": "b", "more": true}]));
        assert!(
            html.contains("<th scope=\"col\">score</th>") && html.contains("<td class=\"num\">0.5</td>"),
            "{html}"
        );
        assert!(render("j1", &json!(["Hello", " wor", "ld"])).contains("Hello world"));
        assert!(render("j1", &json!({"text": "Steps:\n\n- one\n- two of them"})).contains("<li>one</li>"));
        assert_eq!(render("j1", &json!({"ok": true, "n": 3, "id": "abc"})), "");
    }

    #[test]
    fn nothing_hostile_comes_through() {
        let html = render(
            "j1",
            &json!({
                "<img src=x>": "<script>alert(1)</script> and more words",
                "link": "javascript:alert(1)//aaaaaaaaaaaaaaaaaaaa b",
                "rows": [{"<b>": "<i onclick=x>"}],
                "web": "https://evil.example/\"><script>",
            }),
        );
        for gone in ["<script", "<img", "<b>", "<i ", "href=\"javascript"] {
            assert!(!html.contains(gone), "{gone} in {html}");
        }
    }

    #[test]
    fn what_is_large_is_bounded() {
        let deep = (0..200)
            .fold(json!("some words that are long enough to be shown"), |inner, _| json!({"a": inner}));
        assert_eq!(render("j", &deep), "");
        let rows: Vec<Value> = (0..50_000).map(|n| json!({"n": n})).collect();
        assert!(render("j", &rows.into()).len() < 10_000);
        let many: Vec<Value> =
            (0..5_000).map(|n| json!([format!("text number {n} with many words in it")])).collect();
        assert!(render("j", &many.into()).matches("<figure").count() <= MOST_PARTS);
    }
}
