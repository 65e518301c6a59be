//! The error object that an OpenAI-style worker meant. The SDK turns a yielded `{"error": {…}}` into text: JSON
//! when it was returned, Python's way of writing a dictionary when it was yielded.

use serde_json::Value;

/// The object with a `message` in an error text, where there is one.
pub(crate) fn object_of(error: &str) -> Option<Value> {
    let parsed = serde_json::from_str(error).ok().or_else(|| serde_json::from_str(&as_json(error)?).ok());
    parsed.filter(|value: &Value| value.get("message").is_some_and(Value::is_string))
}

/// A Python literal as JSON text: quotes, escapes, and the three words that are written otherwise.
fn as_json(literal: &str) -> Option<String> {
    let mut out = String::with_capacity(literal.len() + 16);
    let mut rest = literal.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\'' | '"' => string(c, &mut rest, &mut out)?,
            c if c.is_ascii_alphabetic() => {
                let mut word = String::from(c);
                while let Some(next) = rest.next_if(char::is_ascii_alphanumeric) {
                    word.push(next);
                }
                out.push_str(match word.as_str() {
                    "True" => "true",
                    "False" => "false",
                    "None" => "null",
                    other => other,
                });
            }
            c => out.push(c),
        }
    }
    Some(out)
}

fn string(quote: char, rest: &mut impl Iterator<Item = char>, out: &mut String) -> Option<()> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            c if c == quote => break,
            '\\' => match rest.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'x' => {
                    let hex: String = [rest.next()?, rest.next()?].iter().collect();
                    text.push(char::from(u8::from_str_radix(&hex, 16).ok()?));
                }
                c => text.push(c),
            },
            c => text.push(c),
        }
    }
    out.push_str(&Value::String(text).to_string());
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::object_of;

    #[test]
    fn both_spellings_are_read() {
        let expected = json!({"message": "it's \"bad\"\n", "type": "x", "code": 400, "param": null});
        let yielded = r#"{'message': 'it\'s "bad"\n', 'type': 'x', 'code': 400, 'param': None}"#;
        assert_eq!(object_of(yielded), Some(expected.clone()));
        assert_eq!(object_of(&expected.to_string()), Some(expected));
        for plain in ["no model", "{'a': 1}", "{'message': 'open", "[1]", ""] {
            assert_eq!(object_of(plain), None, "{plain}");
        }
    }
}
