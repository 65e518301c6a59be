//! Secrets: values that workers get and that nobody sees again. A variable refers to one as
//! `{{ RUNPOD_SECRET_name }}`, as on RunPod; what stands there is put in when a worker starts, and at no other time.
//! The values themselves are sealed by the vault; here is what is kept of them, and how references are read.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The longest name, in bytes.
pub const LONGEST_NAME: usize = 64;

/// The longest value, in bytes: what an environment can carry with room for the rest of it.
pub const LONGEST_VALUE: usize = 64 * 1024;

/// The longest description, in bytes.
pub const LONGEST_DESCRIPTION: usize = 1_000;

/// The most secrets that a server keeps.
pub const MOST: usize = 1_000;

/// What is shown instead of a value.
pub const MASK: &str = "••••";

/// Values shorter than this are not looked for in what workers print: they would stand in every other line.
pub const SHORTEST_MASKED: usize = 8;

/// What references begin with, and what of them is before the name.
const OPENING: &str = "{{";
const CLOSING: &str = "}}";
const PREFIX: &str = "RUNPOD_SECRET_";

/// A secret as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// What variables call it.
    pub name: String,
    /// What people know it by.
    pub description: Option<String>,
    /// Rises from 1 with each value.
    pub version: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it got the value that it has.
    pub updated_at: Timestamp,
    /// When a worker last got it.
    pub used_at: Option<Timestamp>,
    /// The value, sealed, in base64.
    pub sealed: String,
}

/// A key that seals values, wrapped by the key in the key file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKeyRecord {
    /// Which one; sealed values name it.
    pub id: String,
    /// The key of the key file that it is wrapped by.
    pub wrapped_by: String,
    /// It, wrapped, in base64.
    pub wrapped: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Whether `name` can name a secret: 1 to 64 of letters, digits and `_`, as RunPod has it.
pub fn is_valid_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A piece of a variable's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    /// The name in a reference, which may name nothing that there can be.
    Secret(&'a str),
}

/// Cuts the first piece off.
fn cut(text: &str) -> Option<(Piece<'_>, &str)> {
    let mut from = 0;
    while let Some(at) = text[from..].find(OPENING).map(|at| from + at) {
        if let Some((name, rest)) = reference(&text[at..]) {
            return Some(if at == 0 {
                (Piece::Secret(name), rest)
            } else {
                (Piece::Text(&text[..at]), &text[at..])
            });
        }
        // Three braces: the reference may begin at the second.
        from = at + 1;
    }
    (!text.is_empty()).then_some((Piece::Text(text), ""))
}

/// The name in the reference that `text` begins with, and what is behind it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix(OPENING)?.trim_start_matches(' ').strip_prefix(PREFIX)?;
    let end = inner.find(['{', '}', ' ', '\n']).unwrap_or(inner.len());
    let rest = inner[end..].trim_start_matches(' ').strip_prefix(CLOSING)?;
    Some((&inner[..end], rest))
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, behind) = cut(rest)?;
        rest = behind;
        Some(piece)
    })
}

/// The names that a variable's value refers to, in their order.
pub fn references(value: &str) -> impl Iterator<Item = &str> {
    pieces(value).filter_map(|piece| match piece {
        Piece::Secret(name) => Some(name),
        Piece::Text(_) => None,
    })
}

/// The value with what it refers to put in; what is put in is not looked at again.
///
/// # Errors
/// The first name for which `lookup` has nothing.
pub fn fill(value: &str, mut lookup: impl FnMut(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    for piece in pieces(value) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Secret(name) => out.push_str(&lookup(name).ok_or_else(|| name.to_owned())?),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &str) -> Vec<&str> {
        references(value).collect()
    }

    #[test]
    fn references_stand_anywhere_with_and_without_spaces() {
        assert_eq!(names("{{ RUNPOD_SECRET_a }}"), ["a"]);
        assert_eq!(
            names("https://u:{{RUNPOD_SECRET_a}}@h/{{  RUNPOD_SECRET_B_2 }}{{RUNPOD_SECRET_a}}"),
            ["a", "B_2", "a"]
        );
        assert_eq!(names("{{{RUNPOD_SECRET_a}}}"), ["a"]);
        // A name that there cannot be is a reference all the same: whoever wrote it shall hear of it.
        assert_eq!(names("{{ RUNPOD_SECRET_not-one }}{{ RUNPOD_SECRET_ }}"), ["not-one", ""]);
        for plain in
            ["", "{{", "{{ RUNPOD_SECRET_a }", "{{ runpod_secret_a }}", "{ RUNPOD_SECRET_a }", "{{ x }}"]
        {
            assert!(names(plain).is_empty(), "{plain}");
        }
    }

    #[test]
    fn what_is_put_in_is_not_read_again() {
        let lookup = |name: &str| (name == "a").then(|| "{{ RUNPOD_SECRET_a }}$".to_owned());
        assert_eq!(
            fill("<{{ RUNPOD_SECRET_a }}>{{ é", lookup),
            Ok("<{{ RUNPOD_SECRET_a }}$>{{ é".to_owned())
        );
        assert_eq!(fill("{{ RUNPOD_SECRET_a }}{{ RUNPOD_SECRET_b }}", lookup), Err("b".to_owned()));
    }

    #[test]
    fn names_are_words() {
        assert!(is_valid_name("HF_token2") && is_valid_name("2x"));
        for bad in ["", "a-b", "a b", "ä", &"x".repeat(65)] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }
}
