//! What programs say, brought into a sentence: their words on one line of bounded length, and of a Python program that
//! ended by an exception which one it was and where it was raised.

use std::borrow::Cow;

use serde::Deserialize;

/// The most of somebody else's words in a sentence, in characters.
const LONGEST: usize = 400;

/// The first line of each traceback.
const HEAD: &str = "Traceback (most recent call last):";

/// Somebody else's words on one line, without control characters and of bounded length.
pub fn brief(text: &str) -> String {
    let mut out = String::new();
    let mut count = 0;
    let text = without_colours(text);
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if count > 0 {
            out.push(' ');
            count += 1;
        }
        for c in word.chars() {
            if count >= LONGEST {
                out.push('…');
                return out;
            }
            out.push(c);
            count += 1;
        }
    }
    out
}

/// A text without what sets colours on terminals.
fn without_colours(text: &str) -> Cow<'_, str> {
    const BEGIN: &str = "\u{1b}[";
    if !text.contains(BEGIN) {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split(BEGIN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut rest = part.trim_start_matches(|c: char| (' '..='?').contains(&c)).chars();
        rest.next();
        out.push_str(rest.as_str());
    }
    Cow::Owned(out)
}

/// The innermost frame of the user's own code, of the exception that was raised last: the file as its author knows it,
/// and the line.
pub fn frame(traceback: &str) -> Option<(String, u32)> {
    let mut blocks: Vec<&str> = traceback.split(HEAD).collect();
    blocks.reverse();
    let own = |block: &str| block.lines().rev().filter_map(parse_frame).find(|(file, _)| is_own(file));
    let (file, line) = blocks.into_iter().find_map(own)?;
    Some((as_deployed(&file).to_owned(), line))
}

/// The traceback in the SDK's report of an exception, which it prints as JSON; `None` where a text is no such report.
pub fn reported(text: &str) -> Option<String> {
    if !text.starts_with('{') || !text.contains("error_traceback") {
        return None;
    }
    let report: Report = serde_json::from_str(text).ok()?;
    Some(report.error_traceback.trim_end().to_owned()).filter(|traceback| !traceback.is_empty())
}

/// What counts of such a report.
#[derive(Deserialize)]
struct Report {
    error_traceback: String,
}

/// The line of a traceback that names the exception: `ValueError: no`. What follows it are more lines of its message.
pub fn exception_line(text: &str) -> Option<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let head = lines.iter().rposition(|line| *line == HEAD);
    // Of what cannot be compiled there is a place and no traceback.
    let from = head.or_else(|| lines.iter().rposition(|line| parse_frame(line).is_some()))?;
    let rest = lines.into_iter().skip(from + 1);
    rest.into_iter().find(|line| !line.is_empty() && !line.starts_with([' ', '\t']))
}

/// Of the last lines of a Python program that nobody caught an exception of: the exception and its place,
/// `OSError: no disk (handler.py:4)`.
pub(super) fn last_words<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let text = lines.collect::<Vec<_>>().join("\n");
    let line = brief(exception_line(&text)?);
    Some(match frame(&text) {
        Some((file, number)) => format!("{line} ({file}:{number})"),
        None => line,
    })
}

/// `  File "/app/handler.py", line 12, in handler`.
fn parse_frame(line: &str) -> Option<(String, u32)> {
    let (file, rest) = line.trim_start().strip_prefix("File \"")?.split_once("\", line ")?;
    let digits: &str = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((file.to_owned(), digits.parse().ok()?))
}

/// Whether a file is neither installed by a package manager nor part of Python.
fn is_own(file: &str) -> bool {
    let foreign = ["/site-packages/", "/dist-packages/", "/lib/python", "/lib64/python"];
    !file.starts_with('<') && !foreign.iter().any(|part| file.contains(part))
}

/// The file as its author knows it: below the deployed folder, not below where the server unpacked it.
fn as_deployed(file: &str) -> &str {
    let Some((_, rest)) = file.split_once("/bundles/") else { return file };
    let digest = |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    rest.split_once('/').filter(|(name, _)| digest(name)).map_or(file, |(_, own)| own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_are_one_line_of_bounded_length() {
        assert_eq!(brief("1 error\n  in\tfield \u{1b}[1;31mx\u{1b}[0m\r\n"), "1 error in field x");
        assert_eq!(brief("cut \u{1b}[\u{1b}[3\u{1b}[é \u{7}"), "cut");
        assert_eq!(brief(" \n"), "");
        let long = brief(&"é".repeat(5_000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (LONGEST + 1, true));
    }

    #[test]
    fn an_exception_that_nobody_caught_is_named_with_its_place() {
        let said = |text: &str| last_words(text.lines());
        let import = "loading\nTraceback (most recent call last):\n  File \"/d/bundles/2a1076580b7d9c54cf4c0d01fad3fc80e5e0cb8c20024002d5c4ad76f30d6b94/handler.py\", line 4, in <module>\n    raise OSError(\"license\\n expired\")\nOSError: license\n expired";
        assert_eq!(said(import).as_deref(), Some("OSError: license (handler.py:4)"));
        let syntax = "hello\n  File \"/app/handler.py\", line 2\n    def handler(job)\n                    ^\nSyntaxError: expected ':'\nbye";
        assert_eq!(said(syntax).as_deref(), Some("SyntaxError: expected ':' (/app/handler.py:2)"));
        let deep = "Traceback (most recent call last):\n  File \"/app/m.py\", line 9, in f\n  File \"/usr/lib/python3.11/json/decoder.py\", line 355, in raw_decode\njson.decoder.JSONDecodeError: Expecting value";
        assert_eq!(
            said(deep).as_deref(),
            Some("json.decoder.JSONDecodeError: Expecting value (/app/m.py:9)")
        );
    }

    #[test]
    fn other_last_words_are_no_exception() {
        for text in ["", "killed", "a\nb", "Traceback (most recent call last):\n  File \"/x.py\", line 1"] {
            assert_eq!(last_words(text.lines()), None, "{text}");
        }
        // The SDK prints a job's exception as JSON: nobody died of it.
        let caught = "{\n    \"error_traceback\": \"Traceback (most recent call last):\\n\",\n    \"hostname\": \"w\"\n}";
        assert_eq!(last_words(caught.lines()), None);
    }

    #[test]
    fn a_report_is_read_as_its_traceback() {
        let report =
            r#"{"error_type": "X", "error_traceback": "Traceback:\n  File 1\nX: y\n", "hostname": "w"}"#;
        assert_eq!(reported(report).as_deref(), Some("Traceback:\n  File 1\nX: y"));
        for other in ["", "{}", r#"{"error_traceback": 1}"#, r#"{"error_traceback": ""}"#, "error_traceback"]
        {
            assert_eq!(reported(other), None, "{other}");
        }
    }
}
