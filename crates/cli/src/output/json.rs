//! JSON for people and pipes, on the text itself: what the server sent is laid out anew but its numbers, key
//! order and spelling stay as they are (a parsed value would sort keys and round large numbers). Control
//! characters that JSON lets stand (DEL, C1), line separators and direction overrides are written as escapes, so that no
//! document moves a terminal or reads as what it is not.

use std::fmt::Write as _;

use crate::output::text;

/// Strings longer than this are cut in [`pretty_for_people`].
const LONG_STRING: usize = 2_000;

/// One line, no spaces.
pub fn compact(json: &str) -> String {
    Layout { out: String::with_capacity(json.len()), indent: None, cut: None }.run(json)
}

/// Two spaces a level.
pub fn pretty(json: &str) -> String {
    Layout { out: String::with_capacity(json.len() * 2), indent: Some(0), cut: None }.run(json)
}

/// [`pretty`] with strings that no person reads (a picture in base64) cut to their beginning and size.
pub fn pretty_for_people(json: &str) -> String {
    Layout { out: String::new(), indent: Some(0), cut: Some(LONG_STRING) }.run(json)
}

struct Layout {
    out: String,
    /// The level, where lines are broken at all.
    indent: Option<usize>,
    cut: Option<usize>,
}

impl Layout {
    fn run(mut self, json: &str) -> String {
        let mut rest = json.trim();
        while let Some(c) = rest.chars().next() {
            rest = match c {
                '"' => self.string(rest),
                '{' | '[' => self.open(c, &rest[1..]),
                '}' | ']' => {
                    self.close(c);
                    &rest[1..]
                }
                ',' => {
                    self.out.push(',');
                    self.new_line();
                    &rest[1..]
                }
                ':' => {
                    self.out.push_str(if self.indent.is_some() { ": " } else { ":" });
                    &rest[1..]
                }
                ' ' | '\n' | '\r' | '\t' => &rest[1..],
                c => {
                    push_safe(&mut self.out, c);
                    &rest[c.len_utf8()..]
                }
            };
        }
        self.out
    }

    fn open<'a>(&mut self, c: char, rest: &'a str) -> &'a str {
        self.out.push(c);
        let inside = rest.trim_start();
        if let Some(after) = inside.strip_prefix(['}', ']']) {
            self.out.push(if c == '{' { '}' } else { ']' });
            return after;
        }
        self.indent = self.indent.map(|level| level + 1);
        self.new_line();
        inside
    }

    fn close(&mut self, c: char) {
        self.indent = self.indent.map(|level| level.saturating_sub(1));
        self.new_line();
        self.out.push(c);
    }

    fn new_line(&mut self) {
        if let Some(level) = self.indent {
            self.out.push('\n');
            self.out.push_str(&"  ".repeat(level));
        }
    }

    fn string<'a>(&mut self, rest: &'a str) -> &'a str {
        let end = string_end(rest);
        let whole = &rest[..end];
        match self.cut {
            Some(max) if whole.len() > max => {
                let head = text::shorten(&whole[1..], 48);
                let head = head.trim_end_matches(['\\', '"']);
                head.chars().for_each(|c| push_safe(&mut self.out, c));
                self.out.insert(self.out.len() - head.len(), '"');
                let _ = write!(self.out, " ({}; -o FILE saves it)\"", bytes(whole.len()));
            }
            _ => whole.chars().for_each(|c| push_safe(&mut self.out, c)),
        }
        &rest[end..]
    }
}

/// The index after the closing quote of the string that `rest` starts with.
fn string_end(rest: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

fn push_safe(out: &mut String, c: char) {
    if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
        let _ = write!(out, "\\u{:04x}", c as u32);
    } else {
        out.push(c);
    }
}

/// A size for people: `312 B`, `38 KB`, `1.2 MB`.
pub fn bytes(n: usize) -> String {
    match n {
        ..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{} KB", n / 1_000),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_keeps_spelling() {
        let text = r#"{"b":1.0,"a":[1,12345678901234567890123,{"x":"q\"}{,:"}],"e":{},"l":[ ]}"#;
        assert_eq!(compact(&pretty(text)), text.replace("[ ]", "[]"));
        assert_eq!(
            pretty(r#"{"b":[1,{}],"a":"x: y"}"#),
            "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": \"x: y\"\n}"
        );
    }

    #[test]
    fn control_characters_become_escapes() {
        assert_eq!(compact("\"a\u{9b}31m\u{7f}\""), "\"a\\u009b31m\\u007f\"");
        assert_eq!(compact("\"a\u{202e}b\u{2028}\""), "\"a\\u202eb\\u2028\"");
    }

    #[test]
    fn people_see_the_beginning_of_long_strings() {
        let text = format!(r#"{{"body":"{}"}}"#, "A".repeat(3_000));
        let shown = pretty_for_people(&text);
        assert!(shown.len() < 200, "{shown}");
        assert!(shown.contains("3 KB; -o FILE saves it"), "{shown}");
        assert!(pretty(&text).len() > 3_000);
    }
}
