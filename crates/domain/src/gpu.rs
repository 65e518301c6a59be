//! GPUs: those of a machine, RunPod's types and pools ([`types`]), and which ones a worker shall get ([`Gpus`]). No
//! driver is asked here: what a machine has comes from above.

pub mod types;
mod wish;

pub use wish::{Gpus, Kind};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// The most GPUs of a machine, and of a worker.
pub const MOST: u32 = 64;

/// One GPU of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its type: RunPod's name where there is one, as `NVIDIA GeForce RTX 4090`.
    pub name: String,
    /// Its memory in GB; 0 where it is not known.
    pub memory_gb: u32,
}

impl Gpu {
    /// A GPU of this type, with the memory that such ones have.
    pub fn named(name: &str) -> Self {
        let name = types::type_named(name).unwrap_or_else(|| name.trim());
        Self { name: name.to_owned(), memory_gb: types::memory_of(name) }
    }

    /// The pool by which it is asked for, where it has one.
    pub fn pool(&self) -> Option<&'static str> {
        types::pool_of(&self.name)
    }
}

/// The GPUs of a machine by type, in the order in which they are counted: each type with its indexes.
pub fn by_type(machine: &[Gpu]) -> Vec<(&Gpu, Vec<u32>)> {
    let mut types: Vec<(&Gpu, Vec<u32>)> = Vec::new();
    for (index, gpu) in machine.iter().enumerate() {
        match types.iter_mut().find(|(known, _)| known.name == gpu.name) {
            Some((_, indexes)) => indexes.push(index as u32),
            None => types.push((gpu, vec![index as u32])),
        }
    }
    types
}

/// A machine in words: `2 × NVIDIA A40 (48 GB), 1 × NVIDIA L4 (24 GB)`.
pub fn describe(machine: &[Gpu]) -> String {
    let types = by_type(machine).into_iter().map(|(gpu, indexes)| match gpu.memory_gb {
        0 => format!("{} × {}", indexes.len(), gpu.name),
        gb => format!("{} × {} ({gb} GB)", indexes.len(), gpu.name),
    });
    let types: Vec<String> = types.collect();
    if types.is_empty() { "no GPU".to_owned() } else { types.join(", ") }
}

/// What a configuration says of a machine's GPUs: a number of one kind, or each type with its number, as
/// `2xNVIDIA A40:48GB,1xRTX 4090`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inventory {
    /// So many.
    Count(u32),
    /// These.
    These(Vec<Gpu>),
}

impl FromStr for Inventory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(count) = text.parse::<u32>() {
            return if count > MOST { Err(too_many()) } else { Ok(Self::Count(count)) };
        }
        let mut gpus = Vec::new();
        for item in text.split(',') {
            let (count, rest) = wish::count_of(item.trim());
            let count = count.unwrap_or(1);
            if count > MOST || gpus.len() + count as usize > MOST as usize {
                return Err(too_many());
            }
            let (name, memory) = match rest.rsplit_once(':') {
                Some((name, memory)) => (name, Some(memory)),
                None => (rest, None),
            };
            let is_name = !name.trim().is_empty()
                && name.len() <= wish::LONGEST
                && name.chars().all(|c| c.is_ascii_graphic() || c == ' ');
            if !is_name {
                return Err(format!("'{item}' names no GPUs: write 2xNVIDIA A40:48GB, as many as there are"));
            }
            let mut gpu = Gpu::named(name);
            if let Some(memory) = memory {
                gpu.memory_gb = wish::gigabytes(memory)
                    .ok_or_else(|| format!("'{memory}' is no memory of a GPU: write 48GB"))?;
            }
            gpus.extend(std::iter::repeat_n(gpu, count as usize));
        }
        Ok(Self::These(gpus))
    }
}

fn too_many() -> String {
    format!("a machine has at most {MOST} GPUs")
}

impl<'de> Deserialize<'de> for Inventory {
    /// A number, or a text.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number of GPUs, or their types as \"2xNVIDIA A40:48GB,1xRTX 4090\"")]
        enum Said {
            Count(u32),
            Text(String),
        }
        let text = match Said::deserialize(deserializer)? {
            Said::Count(count) => count.to_string(),
            Said::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gpus = match self {
            Self::Count(count) => return count.fmt(f),
            Self::These(gpus) => gpus,
        };
        let types = by_type(gpus).into_iter();
        let types: Vec<String> =
            types.map(|(gpu, all)| format!("{}x{}:{}GB", all.len(), gpu.name, gpu.memory_gb)).collect();
        types.join(",").fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_described_in_a_line() {
        let Ok(Inventory::These(gpus)) = "2xNVIDIA A40:48GB,1xRTX 4090:24GB, MyCard:7GB".parse() else {
            panic!("an inventory")
        };
        assert_eq!(
            describe(&gpus),
            "2 × NVIDIA A40 (48 GB), 1 × NVIDIA GeForce RTX 4090 (24 GB), 1 × MyCard (7 GB)"
        );
        assert_eq!(gpus[2].pool(), Some("ADA_24"));
        let again = Inventory::These(gpus.clone()).to_string();
        assert_eq!(again.parse(), Ok(Inventory::These(gpus)));
        assert_eq!("3".parse(), Ok(Inventory::Count(3)));
        assert_eq!("l40s".parse(), Ok(Inventory::These(vec![Gpu::named("NVIDIA L40S")])));
        assert_eq!(describe(&[]), "no GPU");
        for bad in ["", "2x", "99xA40", "40xA40,40xL4", "A40:x", "A40:48TB", "a\nb", "1xA40,"] {
            assert!(bad.parse::<Inventory>().is_err(), "{bad}");
        }
    }
}
