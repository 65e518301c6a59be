//! A text or a regular expression that lines are searched for.

use regex::{Regex, RegexBuilder};

use crate::filter::{self, Key};

/// The longest text or expression, in bytes.
pub const MAX_PATTERN: usize = 1_000;
/// What a compiled expression, and its cache, may take in memory.
const MAX_COMPILED: usize = 1 << 20;

/// What lines are searched for.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
    /// Whether it is a text, which never matches across two lines.
    is_text: bool,
    keys: Vec<Key>,
}

/// A pattern that cannot be searched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is too long.
    #[error("what is searched for is longer than {MAX_PATTERN} bytes")]
    TooLong,
    /// It is a text of several lines.
    #[error("what is searched for has a line feed or another control character, and lines have none")]
    Control,
    /// It is no regular expression, or one that takes too much memory.
    #[error("'{pattern}' is no regular expression that can be searched for: {why}")]
    Expression {
        /// What it is.
        pattern: String,
        /// What is wrong with it, in one line.
        why: String,
    },
}

impl Pattern {
    /// A text, letters' case aside.
    pub fn text(text: &str) -> Result<Self, PatternError> {
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(PatternError::Control);
        }
        // Case is a matter of one byte where all letters are ASCII: no Kelvin sign is taken for a K.
        let mut builder = RegexBuilder::new(&regex::escape(text));
        let regex = compile(builder.case_insensitive(true).unicode(!text.is_ascii()), text)?;
        Ok(Self { regex, is_text: true, keys: filter::text(text) })
    }

    /// A regular expression; `(?i)` in front takes letters' case away.
    pub fn regex(pattern: &str) -> Result<Self, PatternError> {
        let regex = compile(&mut RegexBuilder::new(pattern), pattern)?;
        Ok(Self { regex, is_text: false, keys: Vec::new() })
    }

    /// Whether a line has it.
    pub fn is_in(&self, line: &str) -> bool {
        self.regex.is_match(line)
    }

    /// Where in many lines it stands, if it can be looked for in all at once.
    pub(crate) fn places<'a>(&'a self, lines: &'a str) -> Option<impl Iterator<Item = usize> + 'a> {
        self.is_text.then(|| self.regex.find_iter(lines).map(|found| found.start()))
    }

    /// What a filter must hold where it is to be found.
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether a line of a file, as JSON, cannot have it: nothing in such a line stands for something else.
    pub(crate) fn is_ruled_out_by(&self, json: &[u8]) -> bool {
        let plain = self.is_text && json.is_ascii() && !json.contains(&b'\\');
        plain && std::str::from_utf8(json).is_ok_and(|json| !self.regex.is_match(json))
    }
}

fn compile(builder: &mut RegexBuilder, pattern: &str) -> Result<Regex, PatternError> {
    if pattern.len() > MAX_PATTERN {
        return Err(PatternError::TooLong);
    }
    builder.size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED).build().map_err(|error| {
        let said = error.to_string();
        let why = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        PatternError::Expression { pattern: pattern.to_owned(), why }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_whatever_their_case() {
        let find = |text: &str, line: &str| Pattern::text(text).expect("a text").is_in(line);
        assert!(find("a.b*", "xA.B*x") && !find("a.b*", "acb"));
        assert!(find("ärger", "ÄRGER"));
        assert!(find("[", "x[") && find("", "anything"));
        assert_eq!(Pattern::text("a\nb").err(), Some(PatternError::Control));
        assert_eq!(Pattern::text(&"x".repeat(MAX_PATTERN + 1)).err(), Some(PatternError::TooLong));
    }

    #[test]
    fn expressions_are_bounded_and_errors_name_them() {
        assert!(Pattern::regex(r"took \d+ ms$").expect("one").is_in("it took 12 ms"));
        for bad in ["(", r"(?:\w{900}){900}", "[z-a]"] {
            let said = Pattern::regex(bad).expect_err(bad).to_string();
            assert!(said.contains(bad) && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn a_line_is_ruled_out_only_where_it_stands_for_itself() {
        let text = Pattern::text("needle").expect("a text");
        assert!(text.is_ruled_out_by(br#"{"message":"hay"}"#));
        for not in [
            &br#"{"message":"a NEEDLE"}"#[..],
            br#"{"message":"nee\u001b[0mdle"}"#,
            "{\"m\":\"é\"}".as_bytes(),
        ] {
            assert!(!text.is_ruled_out_by(not));
        }
        assert!(!Pattern::regex("^x").expect("one").is_ruled_out_by(br#"{"message":"hay"}"#));
    }
}
