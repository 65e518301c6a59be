//! JSON as HTML: indented and coloured, every number as it came, long strings shortened. It reads bytes that workers
//! and clients wrote and that were checked to be JSON before; what is not is shown as text.

use std::fmt::Write as _;

use crate::show::{bytes, esc};

/// The most that is shown, in bytes of JSON.
const MOST: usize = 200_000;

/// The longest string that is shown whole, in characters.
const LONGEST: usize = 2_000;

/// The deepest that is indented.
const DEEPEST: usize = 64;

/// `raw` as HTML for a `pre`; and whether something was left out.
pub(crate) fn pretty(raw: &str) -> (String, bool) {
    written(raw, true)
}

/// `raw` as text that people edit: indented, every letter of its values as it came. What is too large stays as it is.
pub(crate) fn indented(raw: &str) -> String {
    if raw.len() > MOST { raw.to_owned() } else { written(raw, false).0 }
}

fn written(raw: &str, html: bool) -> (String, bool) {
    let mut writer =
        Writer { out: String::with_capacity(raw.len().min(MOST) * 2), depth: 0, cut: false, html };
    let mut rest = raw.trim();
    let whole = rest.len();
    let mut after_key = false;
    while let Some(first) = rest.chars().next() {
        if whole - rest.len() > MOST {
            writer.out.push_str("\n<i>… the rest is in the download</i>");
            writer.cut = true;
            break;
        }
        let taken = match first {
            '"' => writer.string(rest, after_key),
            '{' | '[' => writer.open(rest, first),
            '}' | ']' => writer.close(first),
            ',' => {
                writer.out.push(',');
                writer.line();
                1
            }
            ':' => {
                writer.out.push_str(": ");
                1
            }
            c if c.is_whitespace() => c.len_utf8(),
            _ => writer.word(rest),
        };
        after_key = first == ':' || (after_key && first.is_whitespace());
        rest = &rest[taken..];
    }
    (writer.out, writer.cut)
}

struct Writer {
    out: String,
    depth: usize,
    cut: bool,
    html: bool,
}

impl Writer {
    fn line(&mut self) {
        self.out.push('\n');
        for _ in 0..self.depth.min(DEEPEST) {
            self.out.push_str("  ");
        }
    }

    fn open(&mut self, rest: &str, bracket: char) -> usize {
        self.out.push(bracket);
        let inside = rest[1..].trim_start();
        if inside.starts_with(['}', ']']) {
            self.out.push(if bracket == '{' { '}' } else { ']' });
            return rest.len() - inside.len() + 1;
        }
        self.depth += 1;
        self.line();
        1
    }

    fn close(&mut self, bracket: char) -> usize {
        self.depth = self.depth.saturating_sub(1);
        self.line();
        self.out.push(bracket);
        1
    }

    fn string(&mut self, rest: &str, is_value: bool) -> usize {
        let mut end = rest.len();
        let mut escaped = false;
        for (at, byte) in rest.bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
        let text = &rest[..end];
        let is_key = !is_value && rest[end..].trim_start().starts_with(':');
        let class = if is_key { "k" } else { "s" };
        if !self.html {
            self.out.push_str(text);
        } else if text.chars().nth(LONGEST).is_some() {
            self.cut = true;
            let head: String = text.chars().take(120).collect();
            let _ = write!(
                self.out,
                "<span class=\"{class}\">{}…\"</span> <i>({})</i>",
                esc(&head),
                bytes(text.len() as u64)
            );
        } else {
            let _ = write!(self.out, "<span class=\"{class}\">{}</span>", esc(text));
        }
        end
    }

    fn word(&mut self, rest: &str) -> usize {
        let end =
            rest.find(|c: char| c.is_whitespace() || ",:{}[]\"".contains(c)).unwrap_or(rest.len()).max(1);
        let end = (end..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        if self.html {
            let _ = write!(self.out, "<span class=\"n\">{}</span>", esc(&rest[..end]));
        } else {
            self.out.push_str(&rest[..end]);
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(raw: &str) -> String {
        let mut text = pretty(raw).0;
        while let (Some(from), Some(to)) = (text.find('<'), text.find('>')) {
            text.replace_range(from..=to, "");
        }
        text
    }

    #[test]
    fn it_is_indented_and_no_number_is_rounded() {
        let raw = r#"{"a":[1,2.50,12345678901234567890],"b":{},"c":"x\"y","d":[ ]}"#;
        let shown = "{\n  &quot;a&quot;: [\n    1,\n    2.50,\n    12345678901234567890\n  ],\n  &quot;b&quot;: {},\n  \
                     &quot;c&quot;: &quot;x\\&quot;y&quot;,\n  &quot;d&quot;: []\n}";
        assert_eq!(plain(raw), shown);
    }

    #[test]
    fn what_is_edited_keeps_its_values() {
        let raw = r#"{"n": 12345678901234567890123, "f":1.50,"s":"a\u00e9<b>"}"#;
        let shown = "{\n  \"n\": 12345678901234567890123,\n  \"f\": 1.50,\n  \"s\": \"a\\u00e9<b>\"\n}";
        assert_eq!(indented(raw), shown);
    }

    #[test]
    fn keys_and_values_are_told_apart_and_escaped() {
        let html = pretty(r#"{"<k>":"<script>:"}"#).0;
        assert!(html.contains("<span class=\"k\">&quot;&lt;k&gt;&quot;</span>"), "{html}");
        assert!(html.contains("<span class=\"s\">&quot;&lt;script&gt;:&quot;</span>"), "{html}");
    }

    #[test]
    fn what_is_long_is_shortened_and_what_is_no_json_is_shown() {
        let (html, cut) = pretty(&format!("\"{}\"", "é".repeat(5_000)));
        assert!(cut && html.len() < 1_000, "{}", html.len());
        let (html, cut) = pretty(&format!("[{}1]", "1,".repeat(300_000)));
        assert!(cut && html.contains("download"));
        for odd in ["", "é", "{\"a", "\"\\", "]]]]", "{:,}", "tru\u{0}e<"] {
            assert!(!pretty(odd).0.contains("e<<"), "{odd}");
        }
        assert!(pretty(&"[".repeat(10_000)).0.len() < 3_000_000);
    }
}
