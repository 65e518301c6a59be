//! What a worker printed for a terminal, as HTML: colours become classes, of which the style sheet knows how they look in
//! either theme; every other escape sequence, control character and change of direction is left out, as a search sees the
//! line. Colours of a larger palette become the nearest of sixteen: a page has no styles of its own.

use std::iter::Peekable;
use std::str::Chars;

/// How the letters look from here on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Look {
    colour: Option<u8>,
    ground: Option<u8>,
    bold: bool,
    faint: bool,
    italic: bool,
    underlined: bool,
    inverse: bool,
}

/// The sixteen colours as most terminals show them.
const SIXTEEN: [(u8, u8, u8); 16] = [
    (0, 0, 0),
    (205, 0, 0),
    (0, 205, 0),
    (205, 205, 0),
    (0, 0, 238),
    (205, 0, 205),
    (0, 205, 205),
    (229, 229, 229),
    (127, 127, 127),
    (255, 0, 0),
    (0, 255, 0),
    (255, 255, 0),
    (92, 92, 255),
    (255, 0, 255),
    (0, 255, 255),
    (255, 255, 255),
];

/// The most parameters of one sequence that are heeded.
const MOST: usize = 32;

/// One line as HTML; of a progress bar the last state.
pub(crate) fn html(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("");
    let mut out = String::with_capacity(line.len() + 16);
    let (mut look, mut open) = (Look::default(), Look::default());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => escape(&mut chars, &mut look),
            '\u{9b}' => control(&mut chars, &mut look),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => string(&mut chars),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() && c != '\t' => {}
            c => {
                if look != open {
                    turn(&mut out, open, look);
                    open = look;
                }
                letter(&mut out, c);
            }
        }
    }
    if open != Look::default() {
        out.push_str("</span>");
    }
    out
}

fn letter(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        c => out.push(c),
    }
}

/// Ends one look and begins another.
fn turn(out: &mut String, from: Look, to: Look) {
    if from != Look::default() {
        out.push_str("</span>");
    }
    if to == Look::default() {
        return;
    }
    out.push_str("<span class=\"");
    let (colour, ground) = if to.inverse { (to.ground, to.colour) } else { (to.colour, to.ground) };
    let mut words: Vec<String> = Vec::new();
    words.extend(colour.map(|colour| format!("f{colour}")));
    words.extend(ground.map(|ground| format!("g{ground}")));
    let flags = [(to.bold, "b"), (to.faint, "d"), (to.italic, "i"), (to.underlined, "u"), (to.inverse, "v")];
    words.extend(flags.iter().filter(|(is, _)| *is).map(|(_, word)| (*word).to_owned()));
    out.push_str(&words.join(" "));
    out.push_str("\">");
}

fn escape(chars: &mut Peekable<Chars<'_>>, look: &mut Look) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            control(chars, look);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            string(chars);
        }
        _ => {
            while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
            chars.next_if(|c| ('0'..='~').contains(c));
        }
    }
}

/// Parameters, intermediates, and the letter that says what is to be done; only `m` is.
fn control(chars: &mut Peekable<Chars<'_>>, look: &mut Look) {
    let mut text = String::new();
    while let Some(c) = chars.next_if(|c| (' '..='?').contains(c)) {
        if text.len() < 256 {
            text.push(c);
        }
    }
    let Some(last) = chars.next_if(|c| ('@'..='~').contains(c)) else { return };
    if last == 'm' && text.chars().all(|c| c.is_ascii_digit() || c == ';' || c == ':') {
        let numbers: Vec<u16> =
            text.split([';', ':']).take(MOST).map(|number| number.parse().unwrap_or(0)).collect();
        paint(&numbers, look);
    }
}

/// A string up to BEL, ST or the end of the line.
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

fn paint(numbers: &[u16], look: &mut Look) {
    let mut rest = numbers;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match *first {
            0 => *look = Look::default(),
            1 => look.bold = true,
            2 => look.faint = true,
            3 => look.italic = true,
            4 => look.underlined = true,
            7 => look.inverse = true,
            22 => (look.bold, look.faint) = (false, false),
            23 => look.italic = false,
            24 => look.underlined = false,
            27 => look.inverse = false,
            n @ 30..=37 => look.colour = Some((n - 30) as u8),
            39 => look.colour = None,
            n @ 40..=47 => look.ground = Some((n - 40) as u8),
            49 => look.ground = None,
            n @ 90..=97 => look.colour = Some((n - 82) as u8),
            n @ 100..=107 => look.ground = Some((n - 92) as u8),
            which @ (38 | 48) => {
                let (colour, taken) = large(rest);
                rest = &rest[taken..];
                let place = if which == 38 { &mut look.colour } else { &mut look.ground };
                *place = colour.or(*place);
            }
            _ => {}
        }
    }
}

/// A colour of a larger palette, and how many numbers say it.
fn large(numbers: &[u16]) -> (Option<u8>, usize) {
    match numbers {
        [5, n, ..] => (u8::try_from(*n).ok().map(of_256), 2),
        [2, r, g, b, ..] => {
            let [r, g, b] = [r, g, b].map(|part| u8::try_from(*part).unwrap_or(u8::MAX));
            (Some(nearest(r, g, b)), 4)
        }
        _ => (None, numbers.len()),
    }
}

fn of_256(n: u8) -> u8 {
    match n {
        0..=15 => n,
        16..=231 => {
            let step = |part: u8| if part == 0 { 0 } else { 55 + part * 40 };
            let n = n - 16;
            nearest(step(n / 36), step(n / 6 % 6), step(n % 6))
        }
        _ => {
            let grey = 8 + (n - 232) * 10;
            nearest(grey, grey, grey)
        }
    }
}

fn nearest(r: u8, g: u8, b: u8) -> u8 {
    let far = |(r2, g2, b2): (u8, u8, u8)| {
        let part = |a: u8, b: u8| (i32::from(a) - i32::from(b)).pow(2);
        part(r, r2) * 2 + part(g, g2) * 4 + part(b, b2) * 3
    };
    (0..16).min_by_key(|n| far(SIXTEEN[usize::from(*n)])).unwrap_or(7)
}

#[cfg(test)]
mod tests {
    use super::html;

    #[test]
    fn colours_become_classes() {
        assert_eq!(html("\u{1b}[31mred\u{1b}[0m no"), "<span class=\"f1\">red</span> no");
        assert_eq!(html("\u{1b}[1;42;97mx"), "<span class=\"f15 g2 b\">x</span>");
        assert_eq!(html("\u{1b}[38;5;196mx\u{1b}[39my"), "<span class=\"f9\">x</span>y");
        assert_eq!(html("\u{1b}[38;2;250;10;10;4mx"), "<span class=\"f9 u\">x</span>");
        assert_eq!(html("\u{1b}[38:5:21mx"), "<span class=\"f4\">x</span>");
        assert_eq!(html("\u{1b}[31;7mx"), "<span class=\"g1 v\">x</span>");
        assert_eq!(html("\u{1b}[31m\u{1b}[0mx"), "x", "what colours nothing leaves nothing");
    }

    #[test]
    fn nothing_else_is_obeyed_and_nothing_is_markup() {
        assert_eq!(html("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
        assert_eq!(html("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]0;t\u{7}"), "link");
        assert_eq!(html("\u{1b}[2J\u{1b}[1;1Hx\u{9b}5Ay\u{1b}(Bz\u{202e}w\u{0}"), "xyzw");
        assert_eq!(html("10%\r50%\r100%\r"), "100%");
        for odd in
            ["\u{1b}", "\u{1b}[", "\u{1b}[38;5", "\u{1b}[38;2;1m", "\u{1b}[<31mx", "\u{1b}[999999999mx"]
        {
            assert!(!html(odd).contains('\u{1b}'), "{odd:?}");
        }
        let long = format!("\u{1b}[{}mx", "1;".repeat(10_000));
        assert!(html(&long).len() < 100);
    }
}
