//! Every file of `fuzz/corpus` through its target, then through small changes of it, the same ones each time; and
//! the three lists of targets (code, programs, corpora) are one.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use runyard_fuzz::{TARGETS, Target};

/// How many changes of each file are tried; `RUNYARD_FUZZ_ROUNDS` sets more.
const ROUNDS: u64 = 20;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The files of a target's corpus, by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(fuzz().join("corpus").join(name));
    let entries = entries.unwrap_or_else(|error| panic!("the target {name} has no corpus: {error}"));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("listed").path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.display().to_string(), fs::read(&file).expect("readable"))).collect()
}

#[test]
fn every_file_keeps_the_promises_of_its_target() {
    let rounds = std::env::var("RUNYARD_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let one = |name: &str, target: Target| {
        let files = corpus(name);
        assert!(!files.is_empty(), "the corpus of {name} is empty");
        for (file, seed) in &files {
            check(target, seed, file);
            for round in 0..rounds {
                let changed = changed(seed, &files[round as usize % files.len()].1, round);
                check(target, &changed, &format!("change {round} of {file}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for (name, target) in TARGETS {
            scope.spawn(move || one(name, *target));
        }
    });
}

fn check(target: Target, data: &[u8], what: &str) {
    if catch_unwind(|| target(data)).is_err() {
        let shown: String = data.escape_ascii().map(char::from).take(2_000).collect();
        panic!("{what} breaks a promise: b\"{shown}\"");
    }
}

/// A file after one to four changes that depend on nothing but `round`.
fn changed(seed: &[u8], other: &[u8], round: u64) -> Vec<u8> {
    const ODD: [&[u8]; 14] = [
        b"\0",
        b"\xff",
        b"\"",
        b"\\",
        b"{",
        b"[",
        b"..",
        b"/",
        b"\n",
        b"\r",
        b"\x1b[",
        b"9999999999999999999",
        b"\xe2\x80\xae",
        b"%",
    ];
    let mut data = seed.to_vec();
    let mut dice = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.len() as u64;
    let mut roll = |below: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((dice >> 33) as usize) % below.max(1)
    };
    for _ in 0..=roll(4) {
        let at = roll(data.len() + 1);
        let end = at + roll((data.len() - at).min(64) + 1);
        match roll(6) {
            0 => data.truncate(at),
            1 => drop(data.drain(at..end)),
            2 => drop(data.splice(at..at, ODD[roll(ODD.len())].iter().copied())),
            3 if at < data.len() => data[at] ^= 1 << roll(8),
            4 => {
                let piece = data[at..end].to_vec();
                let times = 1 + roll(20);
                drop(data.splice(at..at, piece.repeat(times)));
            }
            _ => {
                let from = roll(other.len() + 1);
                let piece = &other[from..from + roll((other.len() - from).min(64) + 1)];
                drop(data.splice(at..end, piece.iter().copied()));
            }
        }
    }
    data
}

#[test]
fn targets_programs_and_corpora_are_the_same() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("fuzz/Cargo.toml");
    let manifest: toml::Table = manifest.parse().expect("a manifest");
    let programs = manifest["bin"].as_array().expect("programs").iter();
    let programs: BTreeSet<String> =
        programs.map(|program| program["name"].as_str().expect("a name").to_owned()).collect();
    assert_eq!(targets, programs, "fuzz/Cargo.toml");
    let corpora = fs::read_dir(fuzz().join("corpus")).expect("fuzz/corpus");
    let corpora: BTreeSet<String> =
        corpora.map(|entry| entry.expect("listed").file_name().display().to_string()).collect();
    assert_eq!(targets, corpora, "fuzz/corpus");
}
