//! An example of a request: an input that people keep with an endpoint under a name, to send it again.

use serde::{Deserialize, Serialize};

use crate::{EndpointId, Timestamp};

/// The longest name, in characters.
pub const LONGEST_NAME: usize = 80;

/// The largest input, in bytes.
pub const LARGEST: usize = 256 << 10;

/// The most that an endpoint has.
pub const MOST: usize = 100;

/// An input with a name, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Whose it is.
    pub endpoint: EndpointId,
    /// Unique in its endpoint.
    pub name: String,
    /// The job's input: JSON text as it was written.
    pub input: String,
    /// When it was kept.
    pub updated_at: Timestamp,
    /// Who kept it: the name of the caller.
    pub by: String,
}

/// Whether an example can have this name: letters of any language, digits, spaces and signs, but none that ends a part
/// of a path.
pub fn is_valid_name(name: &str) -> bool {
    let fits = (1..=LONGEST_NAME).contains(&name.chars().count());
    fits && name.trim() == name
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'))
        && !matches!(name, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_part_of_a_path() {
        for good in ["a red boat", "test_input.json", "größer 2", "50 %"] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in ["", " a", "a ", "a/b", "..", "a\nb", "a\\b", &"x".repeat(81)] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }
}
