//! Text that came from elsewhere, made fit for a terminal: escape sequences, control characters and characters
//! that reorder a line are taken out, so that a worker's output can never move a cursor, set a title or hide
//! what a line says. Everything that commands print for people passes through [`clean`].

use std::borrow::Cow;

/// `text` without control characters but newline and tab. Whole escape sequences go, not only their first
/// character; a carriage return alone (a progress bar) becomes a newline.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_csi(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut chars),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' => out.push('\n'),
            c if is_unsafe(c) => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// [`clean`], on one line: newlines and tabs become spaces, and more than `max` characters become `…`.
pub fn line(text: &str, max: usize) -> String {
    let flat: String = clean(text).split_whitespace().collect::<Vec<_>>().join(" ");
    shorten(&flat, max)
}

/// The first `max` characters, the last of them `…` where something was left off.
pub fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(max.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// What people see of a long id: enough to tell it apart, and enough for commands that take a prefix.
pub fn short_id(id: &str) -> String {
    let (prefix, rest) = id.strip_prefix("sync-").map_or(("", id), |rest| ("sync-", rest));
    format!("{prefix}{}", rest.split('-').next().unwrap_or(rest))
}

fn is_unsafe(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn skip_escape(chars: &mut Chars<'_>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_csi(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_string(chars);
        }
        Some(' '..='/') => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|c| matches!(c, '0'..='~'));
        }
        Some('0'..='~') => {
            chars.next();
        }
        _ => {}
    }
}

/// Parameters and intermediates, then one final byte.
fn skip_csi(chars: &mut Chars<'_>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// A title, a hyperlink or other string: to BEL or ST. One that never ends eats no more than its line.
fn skip_string(chars: &mut Chars<'_>) {
    while let Some(c) = chars.next_if(|c| *c != '\n') {
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
    use super::*;

    #[test]
    fn escapes_go_and_text_stays() {
        let cases = [
            ("plain\tand\nlines", "plain\tand\nlines"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{9b}2Jgone", "gone"),
            ("\u{1b}(Bset", "set"),
            ("bell\u{7} back\u{8} del\u{7f}", "bell back del"),
            ("10%\r20%\r\nend", "10%\n20%\nend"),
            ("a\u{202e}b", "ab"),
            ("unfinished \u{1b}]0;never\nnext", "unfinished \nnext"),
            ("end \u{1b}", "end "),
            ("日本語 ✓", "日本語 ✓"),
        ];
        for (dirty, wanted) in cases {
            assert_eq!(clean(dirty), wanted, "{dirty:?}");
        }
    }

    #[test]
    fn lines_are_flat_and_bounded() {
        assert_eq!(line("a\n  b\tc", 80), "a b c");
        assert_eq!(line("abcdef", 4), "abc…");
    }

    #[test]
    fn short_ids_are_prefixes() {
        assert_eq!(short_id("3f2c9a1e-aaaa-bbbb-cccc-dddddddddddd-u1"), "3f2c9a1e");
        assert_eq!(short_id("sync-3f2c9a1e-aaaa-u1"), "sync-3f2c9a1e");
        assert_eq!(short_id("w7k2"), "w7k2");
    }
}
