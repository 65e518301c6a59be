//! Reading JSON text without building values: named fields of a top-level object are cut out as raw text in
//! one scan, and what is malformed is located for people.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The raw fields of a top-level object, in the order asked for. The last of equal names counts; other fields
/// are checked to be JSON and ignored.
pub(crate) fn pick<'a, const N: usize>(
    text: &'a str,
    names: [&str; N],
) -> Result<[Option<&'a RawValue>; N], serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let picked = Pick(names).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(picked)
}

struct Pick<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Pick<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Pick<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = [None; N];
        while let Some(name) = map.next_key_seed(Name(&self.0))? {
            match name {
                Some(at) => picked[at] = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(picked)
    }
}

/// Which of the names a key is.
struct Name<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

/// Where a text stops being JSON, and how to say it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at line {line}, column {column}{found}")]
pub(crate) struct Malformed {
    what: String,
    found: String,
    line: usize,
    column: usize,
}

impl Malformed {
    /// Explains an error of `serde_json` on `text`.
    pub(crate) fn locate(text: &str, error: &serde_json::Error) -> Self {
        if error.is_eof() {
            let (line, column) = place(text, text.len());
            let what = strip(error).replace("EOF while parsing", "the text ends inside");
            return Self { what, found: String::new(), line, column };
        }
        let start = line_start(text, error.line());
        let mut at = (start + error.column()).saturating_sub(1).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        // serde_json points before a control character where it skips a text, and at it elsewhere.
        if error.to_string().starts_with("control character") {
            at += text[at..].find(char::is_control).unwrap_or(0);
        }
        let found = text[at..].chars().next();
        let before = text[..at].trim_end_matches([' ', '\t', '\r', '\n']);
        if let (Some(end @ ('}' | ']')), true) = (found, before.ends_with(',')) {
            let (line, column) = place(text, before.len() - 1);
            return Self {
                what: format!("trailing comma before '{end}'"),
                found: String::new(),
                line,
                column,
            };
        }
        let (line, column) = place(text, at);
        let found = found.map_or(String::new(), |c| format!(": found {}", describe(c, &text[at..])));
        Self { what: strip(error), found, line, column }
    }

    /// Line and column, both from 1.
    pub(crate) fn place(&self) -> (usize, usize) {
        (self.line, self.column)
    }

    /// The bytes up to `valid` are UTF-8, the next one is not.
    pub(crate) fn not_utf8(bytes: &[u8], valid: usize) -> Self {
        let text = std::str::from_utf8(&bytes[..valid]).unwrap_or_default();
        let (line, column) = place(text, text.len());
        let found = bytes.get(valid).map_or(String::new(), |b| format!(": found byte 0x{b:02x}"));
        Self { what: "the text is not UTF-8".to_owned(), found, line, column }
    }
}

/// The message of an error without its position.
fn strip(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let stripped = message.split(" at line ").next().unwrap_or_default().to_owned();
    stripped.replace('`', "'")
}

/// The offset at which a line (from 1) starts.
fn line_start(text: &str, line: usize) -> usize {
    if line <= 1 {
        return 0;
    }
    text.match_indices('\n').nth(line - 2).map_or(text.len(), |(at, _)| at + 1)
}

/// Line and column of an offset, both from 1, in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// What was found, with the hint that fits the usual mistakes.
fn describe(c: char, rest: &str) -> String {
    let word: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').take(24).collect();
    let hint = match (c, word.as_str()) {
        ('\'', _) => " (JSON texts stand in double quotes)",
        (_, "None" | "True" | "False") => " (JSON has null, true and false)",
        (_, "NaN" | "Infinity") => " (JSON has no NaN and no Infinity: convert them first)",
        ('/' | '#', _) => " (JSON has no comments)",
        _ => "",
    };
    match c {
        '\n' | '\r' => "the end of the line".to_owned(),
        c if c.is_control() => format!("a control character ({})", c.escape_unicode()),
        _ if word.len() > 1 => format!("'{word}'{hint}"),
        c => format!("'{c}'{hint}"),
    }
}

/// How deep arrays and objects are nested in a valid JSON text.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    fn explain(text: &str) -> String {
        Malformed::locate(text, &pick(text, ["input"]).unwrap_err()).to_string()
    }

    #[test]
    fn fields_are_cut_out_raw_and_the_last_one_counts() {
        let text = r#" {"input": 1, "x": [1, {"input": 2}], "\u0069nput": { "a" : 1.0 } } "#;
        let [input, other] = pick(text, ["input", "other"]).unwrap();
        assert_eq!(input.unwrap().get(), r#"{ "a" : 1.0 }"#);
        assert!(other.is_none());
    }

    #[test]
    fn mistakes_are_located() {
        let cases = [
            ("{\"input\": 1,}", "trailing comma before '}' at line 1, column 12"),
            ("{\n  \"input\": {\n    \"a\": 1,\n  }\n}", "trailing comma before '}' at line 3, column 11"),
            ("{\"input\": [1, 2 , ]}", "trailing comma before ']' at line 1, column 17"),
            (
                "{\"é\": 'x'}",
                "expected value at line 1, column 7: found ''' (JSON texts stand in double quotes)",
            ),
            (
                "{\"input\": None}",
                "expected value at line 1, column 11: found 'None' (JSON has null, true and false)",
            ),
            ("{\"input\": {\"a\" 1}}", "expected ':' at line 1, column 16: found '1'"),
            ("{\"input\": [1 2]}", "expected ',' or ']' at line 1, column 14: found '2'"),
            ("{\"input\": {a: 1}}", "key must be a string at line 1, column 12: found 'a'"),
            (
                "{\"input\": \"a\nb\"}",
                "control character (\\u0000-\\u001F) found while parsing a string at line 1, column 13: found the end of the line",
            ),
            ("{\"input\": {\"a\": 1", "the text ends inside an object at line 1, column 18"),
            ("{\"input\": 1} x", "trailing characters at line 1, column 14: found 'x'"),
            ("{\"input\": nul}", "expected ident at line 1, column 14: found '}'"),
        ];
        for (text, expected) in cases {
            assert_eq!(explain(text), expected, "{text}");
        }
    }

    #[test]
    fn depth_ignores_brackets_in_texts() {
        assert_eq!(depth(r#"{"a[[[": [1, "\"[[", {"b": []}]}"#), 4);
        assert_eq!(depth("1"), 0);
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let deep = format!("{{\"input\": {}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(pick(&deep, ["input"]).unwrap()[0].is_some());
        assert_eq!(depth(&deep), 1_000_001);
    }

    #[test]
    fn every_small_mistake_is_judged_as_a_parser_would_and_located_inside_the_text() {
        let text = "{\"input\": {\"é\": [1, -2.5e3, \"a\\n\\u0041\"], \"b\": true},\n \"x\": null}";
        let (ends, _): (Vec<usize>, Vec<char>) = text.char_indices().unzip();
        for at in ends {
            let rest = &text[at..];
            let next = &rest[rest.chars().next().unwrap().len_utf8()..];
            let inserted = ["", "}", "]", ",", "\"", "'", ":", "ü", "\n", "\u{1}", "0", ".", "\\"];
            let mut mutations = vec![text[..at].to_owned()];
            for insert in inserted {
                mutations.push(format!("{}{insert}{next}", &text[..at]));
                mutations.push(format!("{}{insert}{rest}", &text[..at]));
            }
            for mutation in mutations {
                let judged = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&mutation);
                let picked = pick(&mutation, ["input"]);
                assert_eq!(judged.is_ok(), picked.is_ok(), "{mutation}");
                if let Err(error) = picked {
                    let found = Malformed::locate(&mutation, &error);
                    let lines: Vec<&str> = mutation.split('\n').collect();
                    assert!(found.line <= lines.len(), "{mutation}: {found}");
                    assert!(found.column <= lines[found.line - 1].chars().count() + 1, "{mutation}: {found}");
                }
            }
        }
    }
}
