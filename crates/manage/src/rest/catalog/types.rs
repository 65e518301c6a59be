//! Names of GPU types and of the pools that they are asked for by (facts: RunPod's table of pools), with their memory
//! in GB.

/// Type, pool, memory.
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

fn find(name: &str) -> Option<&'static (&'static str, &'static str, u32)> {
    let same = |known: &str| {
        known.eq_ignore_ascii_case(name)
            || known.strip_prefix("NVIDIA ").is_some_and(|short| short.eq_ignore_ascii_case(name))
    };
    TYPES.iter().find(|(known, ..)| same(known))
}

/// The pool of a type, where it has one.
pub(in crate::rest) fn pool_of(name: &str) -> Option<&'static str> {
    find(name).map(|(_, pool, _)| *pool)
}

/// The memory of a type in GB; 0 where it is not known.
pub(super) fn memory_of(name: &str) -> u32 {
    find(name).map_or(0, |(.., memory)| *memory)
}

/// Whether there is such a pool.
pub(in crate::rest) fn is_pool(name: &str) -> bool {
    TYPES.iter().any(|(_, pool, _)| *pool == name)
}
