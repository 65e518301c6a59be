//! What a text says of a GPU whose memory was too small: PyTorch's words, old and new, and CUDA's own.

use std::fmt;

/// A GPU had too little memory. The amounts are the text's own words, as `2.50 GiB`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shortage {
    /// What was asked for.
    pub asked: Option<String>,
    /// What was free.
    pub free: Option<String>,
    /// What the GPU has in all.
    pub total: Option<String>,
}

/// By what such a text is known.
const SIGNS: [&str; 4] = [
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "cudaErrorMemoryAllocation",
];

impl Shortage {
    /// What `text` says of it, where it does.
    pub fn of(text: &str) -> Option<Self> {
        if !SIGNS.iter().any(|sign| text.contains(sign)) {
            return None;
        }
        let after = |mark: &str| text.split_once(mark).and_then(|(_, rest)| first_amount(rest));
        let before = |mark: &str| text.split_once(mark).and_then(|(rest, _)| last_amount(rest));
        Some(Self {
            asked: after("ried to allocate "),
            free: before(" is free").or_else(|| before(" free")),
            total: after("total capacity of ").or_else(|| before(" total capacity")),
        })
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CUDA out of memory")?;
        if let Some(asked) = &self.asked {
            write!(f, ": tried {asked}")?;
        }
        match (&self.free, &self.total) {
            (Some(free), Some(total)) => write!(f, ", {free} free of {total}"),
            (Some(free), None) => write!(f, ", {free} free"),
            _ => Ok(()),
        }
    }
}

/// A number and its unit at the beginning.
fn first_amount(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    amount(words.next()?, words.next()?)
}

/// A number and its unit at the end.
fn last_amount(text: &str) -> Option<String> {
    let mut words = text.split_whitespace().rev();
    let unit = words.next()?;
    amount(words.next()?, unit)
}

fn amount(number: &str, unit: &str) -> Option<String> {
    let number = number.trim_start_matches('(');
    let unit = unit.trim_end_matches(['.', ',', ';', ')']);
    let is_number = number.bytes().all(|b| b.is_ascii_digit() || b == b'.') && number.len() <= 12;
    let is_unit = matches!(unit, "bytes" | "KiB" | "MiB" | "GiB" | "KB" | "MB" | "GB");
    (is_number && is_unit && !number.is_empty()).then(|| format!("{number} {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<String> {
        Shortage::of(text).map(|shortage| shortage.to_string())
    }

    #[test]
    fn the_numbers_are_the_texts_own() {
        let new = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.65 GiB of which 1.10 GiB is free. Process 1 has 22.5 GiB memory in use.";
        assert_eq!(
            said(new).as_deref(),
            Some("CUDA out of memory: tried 2.50 GiB, 1.10 GiB free of 23.65 GiB")
        );
        let old = "CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 7.93 GiB total capacity; 6.49 GiB already allocated; 17.06 MiB free; 6.8 GiB reserved in total by PyTorch)";
        assert_eq!(
            said(old).as_deref(),
            Some("CUDA out of memory: tried 20.00 MiB, 17.06 MiB free of 7.93 GiB")
        );
    }

    #[test]
    fn without_numbers_there_are_none() {
        assert_eq!(said("RuntimeError: CUDA error: out of memory").as_deref(), Some("CUDA out of memory"));
        assert_eq!(
            said("CUDA out of memory. Tried to allocate lots. feel free").as_deref(),
            Some("CUDA out of memory")
        );
        assert_eq!(said("out of memory"), None);
        assert_eq!(said(""), None);
    }
}
