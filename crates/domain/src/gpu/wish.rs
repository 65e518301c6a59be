//! Which GPUs a worker shall get: kinds in order of preference, and how many. All GPUs of a worker are of one type.
//!
//! People write a number (so many of any kind), `none`, `any`, a memory (`24GB`: at least so much), a type or its short
//! form (`rtx4090`, `h100`), one of RunPod's pools (`ADA_24`), each with a number before it (`2x24GB`), several of
//! them, most wanted first, and what is excluded (`-NVIDIA L4`).

use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Gpu, by_type, describe, types};

/// The longest name of a type, in bytes.
pub(super) const LONGEST: usize = 80;

/// The most kinds that are named.
const MOST_KINDS: usize = 16;

/// The most memory of a GPU that is asked for, in GB.
const MOST_GB: u32 = 100_000;

/// What is allowed, for messages.
const ALLOWED: &str = "write a number, \"none\", \"any\", \"24GB\", \"rtx4090\", \"2x24GB\", a pool as \"ADA_24\", or a list of them";

/// One kind of GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Whatever there is.
    Any,
    /// With so much memory or more, in GB.
    Memory(u32),
    /// Of this pool of RunPod's.
    Pool(&'static str),
    /// Of this type: its name, or a short form that may mean several.
    Type(String),
}

/// The GPUs of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gpus {
    count: u32,
    kinds: Vec<Kind>,
    excluded: Vec<String>,
}

impl From<u32> for Gpus {
    /// So many of any kind.
    fn from(count: u32) -> Self {
        let kinds = if count == 0 { Vec::new() } else { vec![Kind::Any] };
        Self { count, kinds, excluded: Vec::new() }
    }
}

impl Gpus {
    /// `count` GPUs of the first of these kinds that can be had, without the types that are excluded.
    pub fn of(count: u32, kinds: Vec<Kind>, excluded: Vec<String>) -> Self {
        let kinds = if kinds.is_empty() && count > 0 { vec![Kind::Any] } else { kinds };
        if count == 0 { Self::default() } else { Self { count, kinds, excluded } }
    }

    /// How many.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether a worker gets none.
    pub fn is_none(&self) -> bool {
        self.count == 0
    }

    /// The kinds, most wanted first.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The types that are not wanted.
    pub fn excluded(&self) -> &[String] {
        &self.excluded
    }

    /// The indexes of a machine's GPUs that will do: by type, most wanted first. Of a memory the smallest type that has
    /// it comes first.
    pub fn groups(&self, machine: &[Gpu]) -> Vec<Vec<u32>> {
        let types = by_type(machine);
        let mut taken = vec![false; types.len()];
        let mut groups = Vec::new();
        for kind in &self.kinds {
            let mut fit: Vec<usize> =
                (0..types.len()).filter(|at| !taken[*at] && self.fits(kind, types[*at].0)).collect();
            if matches!(kind, Kind::Memory(_)) {
                fit.sort_by_key(|at| types[*at].0.memory_gb);
            }
            for at in fit {
                taken[at] = true;
                groups.push(types[at].1.clone());
            }
        }
        groups
    }

    fn fits(&self, kind: &Kind, gpu: &Gpu) -> bool {
        let wanted = match kind {
            Kind::Any => true,
            Kind::Memory(gb) => gpu.memory_gb >= *gb,
            Kind::Pool(pool) => gpu.pool() == Some(pool),
            Kind::Type(said) => types::is_meant(&gpu.name, said),
        };
        wanted && !self.excluded.iter().any(|excluded| types::is_meant(&gpu.name, excluded))
    }

    /// Why a machine can never have such a worker, if it cannot.
    pub fn unmet(&self, machine: &[Gpu]) -> Option<String> {
        let met =
            self.is_none() || self.groups(machine).iter().any(|group| group.len() >= self.count as usize);
        (!met).then(|| format!("a worker needs {}, and this machine has {}", self.words(), describe(machine)))
    }

    /// A name that means no type: neither one that is known nor one of this machine.
    pub fn unknown(&self, machine: &[Gpu]) -> Option<&str> {
        let kinds = self.kinds.iter().filter_map(|kind| match kind {
            Kind::Type(said) => Some(said),
            _ => None,
        });
        let known =
            |said: &str| types::is_type(said) || machine.iter().any(|gpu| types::is_meant(&gpu.name, said));
        kinds.chain(&self.excluded).map(String::as_str).find(|said| !known(said))
    }

    /// For sentences: `2 GPUs`, `1 of 24GB or h100`.
    pub fn words(&self) -> String {
        if self.kinds == [Kind::Any] && self.excluded.is_empty() {
            return if self.count == 1 { "1 GPU".to_owned() } else { format!("{} GPUs", self.count) };
        }
        let kinds: Vec<String> = self.kinds.iter().map(ToString::to_string).collect();
        let but = if self.excluded.is_empty() {
            String::new()
        } else {
            format!(" but {}", self.excluded.join(", "))
        };
        format!("{} of {}{but}", self.count, kinds.join(" or "))
    }

    /// Each kind and each exclusion as it is written.
    fn items(&self) -> Vec<String> {
        let count = if self.count == 1 { String::new() } else { format!("{}x", self.count) };
        let kinds = self.kinds.iter().map(|kind| format!("{count}{kind}"));
        kinds.chain(self.excluded.iter().map(|name| format!("-{name}"))).collect()
    }

    /// Whether it is only a number.
    fn is_number(&self) -> bool {
        self.is_none() || (self.kinds == [Kind::Any] && self.excluded.is_empty())
    }

    fn from_items<'a>(items: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let (mut kinds, mut excluded, mut count) = (Vec::new(), Vec::new(), None);
        for item in items.map(str::trim) {
            if kinds.len() + excluded.len() == MOST_KINDS {
                return Err(format!("at most {MOST_KINDS} kinds of GPUs are named"));
            }
            if let Some(name) = item.strip_prefix('-') {
                excluded.push(type_name(name)?);
                continue;
            }
            let (said, kind) = match (item, item.parse()) {
                ("none", _) => (Some(0), Kind::Any),
                (_, Ok(number)) => (Some(number), Kind::Any),
                _ => {
                    let (said, kind) = count_of(item);
                    (said, kind.parse()?)
                }
            };
            if said.is_some_and(|said| count.is_some_and(|count| count != said)) {
                return Err(
                    "a worker has as many GPUs of one kind as of another: write the same number before each"
                        .to_owned(),
                );
            }
            count = said.or(count);
            kinds.push(kind);
        }
        if kinds.len() > 1 && (count == Some(0) || kinds.iter().all(|kind| *kind == Kind::Any)) {
            return Err("'none', 'any' and a number stand alone".to_owned());
        }
        Ok(Self::of(count.unwrap_or(1), kinds, excluded))
    }
}

/// `2xh100` as its number and what stands behind it.
pub(super) fn count_of(item: &str) -> (Option<u32>, &str) {
    let digits = item.len() - item.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = item.split_at(digits);
    match (number.parse(), rest.trim_start().strip_prefix(['x', 'X'])) {
        (Ok(count), Some(rest)) => (Some(count), rest.trim()),
        _ => (None, item),
    }
}

/// `24GB`, also `24 GiB` or `24g`.
pub(super) fn gigabytes(text: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    let number = ["gib", "gb", "g"].iter().find_map(|unit| text.strip_suffix(unit))?.trim_end();
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    number.parse().ok().filter(|gb| digits && *gb <= MOST_GB)
}

/// A type as RunPod writes it, else as it was said.
fn type_name(said: &str) -> Result<String, String> {
    let said = said.trim();
    let plain = said.len() <= LONGEST && said.chars().all(|c| c.is_ascii_graphic() && c != ',' || c == ' ');
    if !plain
        || !said.chars().any(|c| c.is_ascii_alphabetic())
        || said.starts_with('-')
        || count_of(said).0.is_some()
    {
        let said: String = said.chars().take(LONGEST).collect();
        return Err(format!("'{said}' names no GPUs: {ALLOWED}"));
    }
    Ok(types::own_name(said).unwrap_or(said).to_owned())
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("any") {
            return Ok(Self::Any);
        }
        if let Some(gb) = gigabytes(text) {
            return Ok(Self::Memory(gb));
        }
        match types::pool_named(text) {
            Some(pool) => Ok(Self::Pool(pool)),
            None => type_name(text).map(Self::Type),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Memory(gb) => write!(f, "{gb}GB"),
            Self::Pool(pool) => f.write_str(pool),
            Self::Type(name) => f.write_str(name),
        }
    }
}

impl FromStr for Gpus {
    type Err = String;

    /// One text for all of them, with commas between: `h100,a100`, `2xADA_24,-NVIDIA L4`.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::from_items(text.split(','))
    }
}

impl fmt::Display for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_number() { self.count.fmt(f) } else { self.items().join(",").fmt(f) }
    }
}

impl Serialize for Gpus {
    /// As short as it can be written: a number, a text, or a list of texts.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let items = self.items();
        match items.as_slice() {
            _ if self.is_number() => serializer.serialize_u32(self.count),
            [one] => serializer.serialize_str(one),
            all => all.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Gpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Said;

        impl<'de> Visitor<'de> for Said {
            type Value = Gpus;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "GPUs: {ALLOWED}")
            }

            fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Gpus, E> {
                Ok(Gpus::from(u32::try_from(count).unwrap_or(u32::MAX)))
            }

            fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Gpus, E> {
                let wrong = || E::custom(format!("'{count}' names no GPUs: {ALLOWED}"));
                self.visit_u64(u64::try_from(count).map_err(|_| wrong())?)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Gpus, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Gpus, A::Error> {
                let mut items: Vec<String> = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                    if items.len() > MOST_KINDS {
                        return Err(A::Error::custom(format!(
                            "at most {MOST_KINDS} kinds of GPUs are named"
                        )));
                    }
                }
                if items.is_empty() {
                    return Ok(Gpus::default());
                }
                Gpus::from_items(items.iter().map(String::as_str)).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(Said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<Gpu> {
        ["NVIDIA A40", "NVIDIA A40", "RTX 4090", "NVIDIA L4"].map(Gpu::named).to_vec()
    }

    fn gpus(text: &str) -> Gpus {
        text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn wishes_are_written_short_and_read_again() {
        for (json, same, groups) in [
            ("0", "0", vec![]),
            ("\"none\"", "0", vec![]),
            ("[]", "0", vec![]),
            ("\"any\"", "1", vec![vec![0, 1], vec![2], vec![3]]),
            ("2", "2", vec![vec![0, 1], vec![2], vec![3]]),
            ("\"2xany\"", "2", vec![vec![0, 1], vec![2], vec![3]]),
            ("\"24 gb\"", "\"24GB\"", vec![vec![2], vec![3], vec![0, 1]]),
            ("\"2x24GB\"", "\"2x24GB\"", vec![vec![2], vec![3], vec![0, 1]]),
            ("\"rtx4090\"", "\"rtx4090\"", vec![vec![2]]),
            ("[\"h100\", \"nvidia a40\"]", "[\"h100\",\"NVIDIA A40\"]", vec![vec![0, 1]]),
            ("\"L4, rtx4090\"", "[\"L4\",\"rtx4090\"]", vec![vec![3], vec![2]]),
            ("\"ada_24\"", "\"ADA_24\"", vec![vec![2]]),
            ("\"AMPERE_24,ADA_24,-NVIDIA L4\"", "[\"AMPERE_24\",\"ADA_24\",\"-NVIDIA L4\"]", vec![vec![2]]),
            ("[\"2xh100\",\"a40\"]", "[\"2xh100\",\"2xa40\"]", vec![vec![0, 1]]),
            ("\"-l4\"", "[\"any\",\"-l4\"]", vec![vec![0, 1], vec![2]]),
        ] {
            let wish: Gpus = serde_json::from_str(json).unwrap_or_else(|why| panic!("{json}: {why}"));
            assert_eq!(serde_json::to_string(&wish).expect("JSON"), same, "{json}");
            assert_eq!(serde_json::from_str::<Gpus>(same).expect("the same"), wish);
            assert_eq!(wish.to_string().parse(), Ok(wish.clone()), "{json}");
            assert_eq!(wish.groups(&machine()), groups, "{json}");
        }
    }

    #[test]
    fn what_names_no_gpus_is_refused() {
        for bad in [
            "\"\"",
            "\"2x\"",
            "-1",
            "1.5",
            "true",
            "{}",
            "[1]",
            "\"4090x\\n\"",
            "\"2xh100,3xa40\"",
            "\"h100,none\"",
            "\"1,2\"",
            "\"--x\"",
            "\"2x4x\"",
            "[\"\"]",
            "\"-\"",
        ] {
            assert!(serde_json::from_str::<Gpus>(bad).is_err(), "{bad}");
        }
        let long = format!("\"{}\"", vec!["h100"; 17].join(","));
        assert!(serde_json::from_str::<Gpus>(&long).is_err());
    }

    #[test]
    fn a_machine_says_what_it_has() {
        let unmet = |text: &str| gpus(text).unmet(&machine());
        assert_eq!(unmet("2xa40"), None);
        assert_eq!(unmet("none"), None);
        let there = "this machine has 2 × NVIDIA A40 (48 GB), 1 × NVIDIA GeForce RTX 4090 (24 GB), 1 × NVIDIA L4 (24 GB)";
        assert_eq!(unmet("h100,80GB"), Some(format!("a worker needs 1 of h100 or 80GB, and {there}")));
        assert_eq!(unmet("3"), Some(format!("a worker needs 3 GPUs, and {there}")));
        assert_eq!(
            gpus("1").unmet(&[]),
            Some("a worker needs 1 GPU, and this machine has no GPU".to_owned())
        );
        assert_eq!(gpus("h100,rtx4900").unknown(&machine()), Some("rtx4900"));
        assert_eq!(gpus("h100,MyCard,-l4").unknown(&[Gpu::named("MyCard")]), None);
    }
}
