//! Worker output for people's eyes: nothing in it may move a cursor, change a title or fake a line.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

/// The text without terminal escapes, control characters, line separators and direction overrides. A progress bar that was
/// redrawn with carriage returns collapses to its last state; tabs and line feeds stay.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let line = line.trim_end_matches('\r');
        strip(line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or(""), &mut out);
    }
    out
}

/// The same, without a copy where there is nothing to remove.
pub(crate) fn plain_line(text: &str) -> Cow<'_, str> {
    // 0xc2 and 0xe2 begin what is a control character or a direction override beyond ASCII, among others.
    let is_odd = |byte: u8| byte.is_ascii_control() && byte != b'\t' || byte == 0xc2 || byte == 0xe2;
    if text.bytes().any(is_odd) { Cow::Owned(plain(text)) } else { Cow::Borrowed(text) }
}

fn strip(line: &str, out: &mut String) {
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => escape(&mut chars),
            '\u{9b}' => control_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => string(&mut chars),
            '\t' => out.push('\t'),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
}

fn escape(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            control_sequence(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            string(chars);
        }
        // Intermediate characters, then one final: `ESC ( B`.
        _ => {
            while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
            chars.next_if(|c| ('0'..='~').contains(c));
        }
    }
}

/// Parameters and intermediates up to the final character.
fn control_sequence(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
    chars.next_if(|c| ('@'..='~').contains(c));
}

/// A string command up to BEL, ST or the end of the line.
fn string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next() {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' => {
                chars.next_if_eq(&'\\');
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn escapes_and_controls_are_removed() {
        assert_eq!(plain("\u{1b}[31mred\u{1b}[0m"), "red");
        assert_eq!(plain("\u{1b}]0;title\u{7}x\u{1b}]8;;http://a\u{1b}\\link"), "xlink");
        assert_eq!(plain("\u{9b}2Ja\u{0}b\u{8}c\td"), "abc\td");
        assert_eq!(plain("\u{1b}(Bx\u{1b}cy"), "xy");
        assert_eq!(plain("a\u{202e}b\u{2028}c\u{2029}"), "abc");
        assert_eq!(plain("ends in \u{1b}"), "ends in ");
    }

    #[test]
    fn progress_bars_collapse() {
        assert_eq!(plain("10%\r50%\r100%\r"), "100%");
        assert_eq!(plain("line\r"), "line");
        assert_eq!(plain("one\ntwo"), "one\ntwo");
    }
}
