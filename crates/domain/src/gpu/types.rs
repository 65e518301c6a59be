//! Names of GPU types and of the pools that they are asked for by (facts: RunPod's table of pools), with their memory.
//! People write short forms of the names: what they mean is decided here.

/// Type, pool, memory in GB.
const TYPES: [(&str, &str, u32); 26] = [
    ("NVIDIA RTX A4000", "AMPERE_16", 16),
    ("NVIDIA RTX A4500", "AMPERE_16", 20),
    ("NVIDIA RTX 4000 Ada Generation", "AMPERE_16", 20),
    ("NVIDIA RTX 2000 Ada Generation", "AMPERE_16", 16),
    ("NVIDIA RTX A5000", "AMPERE_24", 24),
    ("NVIDIA L4", "AMPERE_24", 24),
    ("NVIDIA GeForce RTX 3090", "AMPERE_24", 24),
    ("NVIDIA GeForce RTX 4090", "ADA_24", 24),
    ("NVIDIA GeForce RTX 5090", "ADA_32_PRO", 32),
    ("NVIDIA A40", "AMPERE_48", 48),
    ("NVIDIA RTX A6000", "AMPERE_48", 48),
    ("NVIDIA L40", "ADA_48_PRO", 48),
    ("NVIDIA L40S", "ADA_48_PRO", 48),
    ("NVIDIA RTX 6000 Ada Generation", "ADA_48_PRO", 48),
    ("NVIDIA A100 80GB PCIe", "AMPERE_80", 80),
    ("NVIDIA A100-SXM4-80GB", "AMPERE_80", 80),
    ("NVIDIA H100 PCIe", "ADA_80_PRO", 80),
    ("NVIDIA H100 80GB HBM3", "ADA_80_PRO", 80),
    ("NVIDIA H100 NVL", "ADA_80_PRO", 94),
    ("NVIDIA H200", "HOPPER_141", 141),
    ("NVIDIA H200 NVL", "HOPPER_141", 141),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "BLACKWELL_96", 96),
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "BLACKWELL_96", 96),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "BLACKWELL_96", 96),
    ("NVIDIA B200", "BLACKWELL_180", 180),
    ("NVIDIA B300 SXM6 AC", "BLACKWELL_288", 288),
];

/// Words of names that say nothing of the type.
const BRANDS: [&str; 8] =
    ["nvidia", "geforce", "tesla", "quadro", "amd", "instinct", "generation", "edition"];

/// The type of exactly this name, in whatever case.
fn exact(name: &str) -> Option<&'static (&'static str, &'static str, u32)> {
    TYPES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name.trim()))
}

/// The name as RunPod writes it, where it is a type's own or means one type only.
pub fn type_named(said: &str) -> Option<&'static str> {
    if let Some((name, ..)) = exact(said) {
        return Some(name);
    }
    let mut meant = TYPES.iter().filter(|(name, ..)| is_meant(name, said));
    meant.next().filter(|_| meant.next().is_none()).map(|(name, ..)| *name)
}

/// The name of a type as RunPod writes it.
pub(super) fn own_name(said: &str) -> Option<&'static str> {
    exact(said).map(|(name, ..)| *name)
}

/// Whether any type is meant by this.
pub(super) fn is_type(said: &str) -> bool {
    TYPES.iter().any(|(name, ..)| is_meant(name, said))
}

/// The pool of a type, where it has one.
pub fn pool_of(name: &str) -> Option<&'static str> {
    type_named(name).and_then(exact).map(|(_, pool, _)| *pool)
}

/// The memory of a type in GB; 0 where it is not known.
pub fn memory_of(name: &str) -> u32 {
    type_named(name).and_then(exact).map_or(0, |(.., memory)| *memory)
}

/// The pool of this name, in whatever case.
pub fn pool_named(said: &str) -> Option<&'static str> {
    TYPES.iter().map(|(_, pool, _)| *pool).find(|pool| pool.eq_ignore_ascii_case(said.trim()))
}

/// Every pool, smallest GPUs first.
pub fn pools() -> Vec<&'static str> {
    let mut pools: Vec<&str> = TYPES.iter().map(|(_, pool, _)| *pool).collect();
    pools.dedup();
    pools
}

/// Whether somebody who writes `said` means GPUs of the type `name`: the name itself, or its first words without the
/// brand, in whatever case and spacing (`rtx4090`, `RTX 4090`; `h100` for all of them).
pub fn is_meant(name: &str, said: &str) -> bool {
    if name.eq_ignore_ascii_case(said.trim()) {
        return true;
    }
    // A whole name means its own type alone, though it may begin another's.
    if exact(said).is_some() {
        return false;
    }
    let (words, said) = (words(name), words(said).concat());
    let starts = if words.first().is_some_and(|word| word == "rtx") { 2 } else { 1 };
    let begins = |from: usize| (from + 1..=words.len()).any(|to| words[from..to].concat() == said);
    said.contains(|c: char| c.is_ascii_digit()) && (0..starts.min(words.len())).any(begins)
}

fn words(name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty() && !BRANDS.contains(word)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_mean_types() {
        for (said, name) in [
            ("rtx4090", "NVIDIA GeForce RTX 4090"),
            ("RTX 4090", "NVIDIA GeForce RTX 4090"),
            ("nvidia geforce rtx 4090", "NVIDIA GeForce RTX 4090"),
            ("a4000", "NVIDIA RTX A4000"),
            ("rtx6000ada", "NVIDIA RTX 6000 Ada Generation"),
            ("l4", "NVIDIA L4"),
            ("l40", "NVIDIA L40"),
            ("L40S", "NVIDIA L40S"),
            ("b200", "NVIDIA B200"),
        ] {
            assert_eq!(type_named(said), Some(name), "{said}");
        }
        for many in ["h100", "A100", "rtx pro 6000", "h200"] {
            assert!(is_type(many) && type_named(many).is_none(), "{many}");
        }
        for none in ["", "rtx", "nvidia", "rtx4900", "80gb", "pcie", "l"] {
            assert!(!is_type(none), "{none}");
        }
    }

    #[test]
    fn a_whole_name_is_its_own_type_only() {
        assert!(is_meant("NVIDIA H200", "nvidia h200") && !is_meant("NVIDIA H200 NVL", "NVIDIA H200"));
        assert!(is_meant("NVIDIA H200 NVL", "h200"));
        assert_eq!(
            (pool_of("NVIDIA L4"), memory_of("RTX 4090"), memory_of("GPU")),
            (Some("AMPERE_24"), 24, 0)
        );
        assert_eq!((pool_named("ada_24"), pool_named("HUGE_9000")), (Some("ADA_24"), None));
        assert_eq!(pools().first(), Some(&"AMPERE_16"));
    }
}
