//! Secret values in what a worker prints: each is replaced before the line is written anywhere. A value is found as it
//! is and as a string in JSON; of one with several lines, each line. A value that is printed in pieces, turned around or
//! encoded is not found: this keeps mishaps out of the log, not a worker that means to tell.

use runyard_domain::secret::{MASK, SHORTEST_MASKED};

/// What is looked for, the longest first.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    needles: Vec<Vec<u8>>,
}

impl Mask {
    /// A mask for these values. Those that are too short to be told from ordinary words are left out.
    pub(crate) fn new(values: &[String]) -> Self {
        let lines = values.iter().flat_map(|value| value.lines().map(str::trim).chain([value.as_str()]));
        let lines = lines.filter(|line| line.len() >= SHORTEST_MASKED && !line.contains('\n'));
        let mut needles: Vec<Vec<u8>> = lines.flat_map(forms).map(String::into_bytes).collect();
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Self { needles }
    }

    /// Bytes of the longest value that is looked for.
    pub(crate) fn longest(&self) -> usize {
        self.needles.first().map_or(0, Vec::len)
    }

    /// Replaces every value in `line`.
    pub(crate) fn apply(&self, line: &mut Vec<u8>) {
        for needle in &self.needles {
            let mut from = 0;
            while let Some(at) = find(&line[from..], needle).map(|at| from + at) {
                line.splice(at..at + needle.len(), MASK.bytes());
                from = at + MASK.len();
            }
        }
    }
}

/// A line as it is, and as JSON has it: with characters beyond ASCII as they are, and as Python escapes them.
fn forms(line: &str) -> [String; 3] {
    let quoted = serde_json::to_string(line).unwrap_or_default();
    let json = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned();
    let mut units = [0; 2];
    let ascii = json.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii() {
            out.push(c);
        } else {
            let escape = |unit: &u16| format!("\\u{unit:04x}");
            out.extend(c.encode_utf16(&mut units).iter().map(escape));
        }
        out
    });
    [line.to_owned(), json, ascii]
}

fn find(line: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let last = line.len().checked_sub(needle.len())?;
    (0..=last).find(|at| line[*at] == first && line[*at..].starts_with(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(values: &[&str], line: &str) -> String {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let mut bytes = line.as_bytes().to_vec();
        Mask::new(&values).apply(&mut bytes);
        String::from_utf8(bytes).expect("still text")
    }

    #[test]
    fn values_are_replaced_wherever_they_stand() {
        assert_eq!(masked(&["s3cr3t-value"], "a s3cr3t-value, s3cr3t-values3cr3t-value"), "a ••••, ••••••••");
        assert_eq!(masked(&["short"], "short"), "short", "too short to be told from words");
        assert_eq!(masked(&["12345678", "1234567890"], "<1234567890>"), "<••••>", "the longest first");
        assert_eq!(masked(&[], "x"), "x");
    }

    #[test]
    fn values_are_found_in_json_and_line_by_line() {
        let value = "päss\"word\\x";
        for line in [r#"{"m": "päss\"word\\x"}"#, r#"{"m": "p\u00e4ss\"word\\x"}"#] {
            assert_eq!(masked(&[value], line), r#"{"m": "••••"}"#);
        }
        let key = "-----BEGIN KEY-----\nAAAABBBBCCCC\nzz\n";
        assert_eq!(masked(&[key], "  AAAABBBBCCCC"), "  ••••");
        assert_eq!(masked(&[key], "zz"), "zz");
    }
}
