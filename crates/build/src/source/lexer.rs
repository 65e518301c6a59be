//! A small lexer for Python: just enough to tell code from comments and strings, and to see names, dots,
//! brackets and string values in order. It never fails: whatever is not Python becomes odd tokens.
//!
//! The expressions inside f-strings are code and come out as tokens of their own, after the string's.

/// How deep f-strings may nest before the lexer stops looking into them.
const MOST_NESTED: usize = 32;

/// One token, with the line it starts on.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Its line, from 1.
    pub line: u32,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A name or a keyword.
    Name(String),
    /// The value of a plain string without escapes undone; `None` for bytes and f-strings, whose value is
    /// not known from the source.
    Text(Option<String>),
    /// A number, in whatever form.
    Number,
    /// One character of an operator or a bracket.
    Mark(char),
    /// The end of a logical line; brackets and backslashes join physical ones.
    Newline,
}

/// The tokens of a source.
pub fn lex(source: &str) -> Vec<Token> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut lexer = Lexer { rest: source, line: 1, open: 0, nested: 0, tokens: Vec::new() };
    lexer.run(None);
    lexer.end_line();
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    /// Brackets that are open.
    open: usize,
    nested: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        if next == '\n' {
            self.line += 1;
        }
        Some(next)
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|next| !belongs(next)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn push(&mut self, kind: Kind, line: u32) {
        self.tokens.push(Token { kind, line });
    }

    fn end_line(&mut self) {
        if self.tokens.last().is_some_and(|token| token.kind != Kind::Newline) {
            self.push(Kind::Newline, self.line);
        }
    }

    /// Lexes code to the end; inside an f-string (`Some` brackets open around it) to the `}` or `:` that ends
    /// the expression, which is left unread.
    fn run(&mut self, inside: Option<usize>) {
        while let Some(next) = self.peek() {
            let line = self.line;
            match next {
                '#' => {
                    self.take_while(|next| next != '\n');
                }
                '\\' => {
                    self.next();
                    self.take_while(|next| next == '\r');
                    if self.peek() == Some('\n') {
                        self.next();
                    }
                }
                '\n' => {
                    if self.open == 0 {
                        self.end_line();
                    }
                    self.next();
                }
                '\'' | '"' => self.string("", line),
                '}' | ':' if inside == Some(self.open) => return,
                next if next == '_' || next.is_alphabetic() => {
                    let name = self.take_while(|next| next == '_' || next.is_alphanumeric());
                    if matches!(self.peek(), Some('\'' | '"')) && is_prefix(name) {
                        self.string(name, line);
                    } else {
                        self.push(Kind::Name(name.to_owned()), line);
                    }
                }
                next if next.is_ascii_digit() => {
                    self.take_while(|next| next == '_' || next == '.' || next.is_alphanumeric());
                    self.push(Kind::Number, line);
                }
                next if next.is_whitespace() => {
                    self.next();
                }
                mark => {
                    self.next();
                    match mark {
                        '(' | '[' | '{' => self.open += 1,
                        ')' | ']' | '}' => self.open = self.open.saturating_sub(1),
                        _ => {}
                    }
                    self.push(Kind::Mark(mark), line);
                }
            }
        }
    }

    /// A string, whose prefix is read and whose first quote is next.
    fn string(&mut self, prefix: &str, line: u32) {
        let has = |letter: char| prefix.chars().any(|p| p.eq_ignore_ascii_case(&letter));
        let formatted = has('f') || has('t');
        let place = self.tokens.len();
        self.push(Kind::Text(None), line);

        let quote = if self.rest.starts_with("\"\"\"") || self.rest.starts_with("'''") {
            &self.rest[..3]
        } else {
            &self.rest[..1]
        };
        self.rest = &self.rest[quote.len()..];
        let begin = self.rest;
        loop {
            if self.rest.starts_with(quote) {
                if !formatted && !has('b') {
                    let value = &begin[..begin.len() - self.rest.len()];
                    self.tokens[place].kind = Kind::Text(Some(value.to_owned()));
                }
                self.rest = &self.rest[quote.len()..];
                return;
            }
            match self.peek() {
                None => return,
                // A line's end inside a simple string is an error of the source; the string stops there.
                Some('\n') if quote.len() == 1 => return,
                Some('\\') => {
                    self.next();
                    self.next();
                }
                Some('{') if formatted && self.nested < MOST_NESTED => {
                    self.next();
                    if self.peek() == Some('{') {
                        self.next();
                    } else {
                        self.replacement(quote);
                    }
                }
                Some(_) => {
                    self.next();
                }
            }
        }
    }

    /// What stands between the braces of an f-string; the opening one is read, the closing one will be.
    fn replacement(&mut self, quote: &str) {
        self.nested += 1;
        self.open += 1;
        self.push(Kind::Mark('('), self.line);
        self.run(Some(self.open));
        self.open = self.open.saturating_sub(1);
        self.push(Kind::Mark(')'), self.line);
        // The format after the colon is text, in which braces hold expressions again.
        if self.peek() == Some(':') {
            loop {
                match self.peek() {
                    None | Some('}') => break,
                    Some(_) if self.rest.starts_with(quote) => break,
                    Some('{') if self.nested < MOST_NESTED => {
                        self.next();
                        self.replacement(quote);
                    }
                    Some(_) => {
                        self.next();
                    }
                }
            }
        }
        if self.peek() == Some('}') {
            self.next();
        }
        self.nested -= 1;
    }
}

/// Whether letters before a quote are the prefix of a string.
fn is_prefix(letters: &str) -> bool {
    letters.len() <= 2
        && matches!(
            letters.to_ascii_lowercase().as_str(),
            "f" | "r" | "b" | "u" | "t" | "fr" | "rf" | "br" | "rb" | "tr" | "rt"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens in short: names as they are, texts in quotes, marks, `;` for newlines.
    fn short(source: &str) -> String {
        let words: Vec<String> = lex(source)
            .into_iter()
            .map(|token| match token.kind {
                Kind::Name(name) => name,
                Kind::Text(Some(text)) => format!("'{text}'"),
                Kind::Text(None) => "'?'".to_owned(),
                Kind::Number => "0".to_owned(),
                Kind::Mark(mark) => mark.to_string(),
                Kind::Newline => ";".to_owned(),
            })
            .collect();
        words.join(" ")
    }

    #[test]
    fn comments_and_strings_hide_code() {
        assert_eq!(short("a # b\n'c # d' # e"), "a ; 'c # d' ;");
        assert_eq!(short("'''a\n\"b\"\n''' + c"), "'a\n\"b\"\n' + c ;");
    }

    #[test]
    fn every_form_of_string() {
        assert_eq!(
            short(r#"'a' "b" R'c' b'd' Rb"e" u'f' rf'g' '' """h""""#),
            "'a' 'b' 'c' '?' '?' 'f' '?' '' 'h' ;"
        );
        assert_eq!(short(r"'it\'s' x"), r"'it\'s' x ;");
        assert_eq!(short(r"r'a\' b' c"), r"'a\' b' c ;");
        assert_eq!(short("'open\nnext"), "'?' ; next ;");
    }

    #[test]
    fn code_inside_of_f_strings_is_code() {
        assert_eq!(short(r#"f"{a['b']} {{c}} {d!r:>{e}} f""#), "'?' ( a [ 'b' ] ) ( d ! r ) ( e ) ;");
        assert_eq!(short(r#"f"{a["b"]}" c"#), "'?' ( a [ 'b' ] ) c ;");
        assert_eq!(short("f'''{\na\n}''' b"), "'?' ( a ) b ;");
        assert_eq!(short("f'{x:%H:%M}' y"), "'?' ( x ) y ;");
        assert_eq!(short("f'{ {1: 2}[1] }' y"), "'?' ( { 0 : 0 } [ 0 ] ) y ;");
    }

    #[test]
    fn brackets_and_backslashes_join_lines() {
        assert_eq!(short("a(\n1,\n)\nb = \\\n c\n\n\nd"), "a ( 0 , ) ; b = c ; d ;");
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let tokens = lex("'''\n\n'''\n(\n\\\n)\nlast");
        assert_eq!(tokens.iter().find(|t| t.kind == Kind::Name("last".into())).map(|t| t.line), Some(7));
    }

    #[test]
    fn broken_sources_end() {
        for source in
            ["'''", "f'{", "f'{a:", "f\"{'", "\\", "(((", ")))x", "f'{{", "é = 'ü'", &"f'{".repeat(500)]
        {
            lex(source);
        }
    }
}
