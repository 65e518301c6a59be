//! What comes with a user's folder: archives, ignore files, requirements, sources, test requests.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use runyard_build::listing::{Kind, Listing, MOST};
use runyard_build::{Limits, pack, source, unpack as unpack_into};
use runyard_project::Live;

use crate::{text, two};

const LIMITS: Limits = Limits { packed: 1 << 20, unpacked: 1 << 20, ratio: 200, files: 50, path: 200 };

/// An archive is unpacked within its limits and inside of its folder, as plain files and folders, or leaves
/// nothing behind. What was unpacked packs and unpacks to the same.
pub fn unpack(data: &[u8]) {
    one_archive(data);
    // Bytes that are no gzip stream are tried as what is in one, so that mutations reach the tar headers.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    gzip.write_all(data).expect("memory takes it");
    one_archive(&gzip.finish().expect("memory takes it"));
}

fn one_archive(archive: &[u8]) {
    let around = tempfile::tempdir().expect("a folder");
    let inner = around.path().join("inner");
    fs::create_dir(&inner).expect("made");
    let dest = inner.join("dest");
    let unpacked = unpack_into(archive, &dest, &LIMITS);
    let beside: Vec<PathBuf> = below(around.path()).into_iter().filter(|p| !p.starts_with(&dest)).collect();
    assert_eq!(beside, [inner], "something lies outside of the folder");
    let Ok(unpacked) = unpacked else { return assert!(!dest.exists(), "half of an archive is there") };
    let mut size = 0;
    let mut files = 0;
    for path in below(&dest) {
        let meta = fs::symlink_metadata(&path).expect("listed");
        assert!(meta.is_file() || meta.is_dir(), "{} is something special", path.display());
        if meta.is_file() {
            files += 1;
            size += meta.len();
        }
    }
    assert_eq!((files, size), (unpacked.files, unpacked.size));
    assert!(files <= LIMITS.files && size <= LIMITS.unpacked);
}

/// Everything below a folder; links are not followed.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).expect("readable").flatten() {
            if entry.file_type().expect("known").is_dir() {
                left.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}

/// Whatever stands in ignore files: what is packed are files of the folder with their content, and packing what was
/// unpacked gives the same bytes where the ignore files are gone.
pub fn ignore_files(data: &[u8]) {
    let dir = folder(&[("handler.py", "x"), ("sub/model.bin", "y"), ("sub/a b.txt", "z")]);
    fs::write(dir.path().join(".gitignore"), data).expect("written");
    fs::write(dir.path().join(".runyardignore"), data).expect("written");
    let Ok(bundle) = pack(dir.path()) else { return };
    let around = tempfile::tempdir().expect("a folder");
    let dest = around.path().join("dest");
    let unpacked = unpack_into(&bundle.bytes[..], &dest, &Limits::default()).expect("our own archive");
    assert_eq!(unpacked.files, bundle.files);
    for path in below(&dest).into_iter().filter(|path| path.is_file()) {
        let name = path.strip_prefix(&dest).expect("below it");
        let original = fs::read(dir.path().join(name)).expect("a file of the folder");
        assert_eq!(fs::read(&path).expect("readable"), original, "{}", name.display());
    }
    assert_eq!(pack(dir.path()).expect("again").sha256, bundle.sha256);
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap_or(dir.path())).expect("made");
        fs::write(path, text).expect("written");
    }
    dir
}

/// Requirements of any content name packages as PEP 503 writes them, or are refused. The first line says which
/// file it is.
pub fn requirements(data: &[u8]) {
    let (name, content) = two(data);
    let name = ["pyproject.toml", "uv.lock", "requirements.txt"].into_iter().find(|known| *known == name);
    let dir = folder(&[(name.unwrap_or("requirements.txt"), &content)]);
    if name == Some("uv.lock") {
        fs::write(dir.path().join("pyproject.toml"), "").expect("written");
    }
    match runyard_build::probe::listed(dir.path()) {
        Ok(names) => {
            for name in names {
                assert!(!name.contains(['-', '_', '.', ' ']) || !name.contains("--"), "{name:?}");
                assert_eq!(name, name.to_ascii_lowercase());
            }
        }
        Err(words) => assert!(!words.is_empty()),
    }
    runyard_build::probe::fits(&content, "3.11.7");
}

/// Names and lines that are read from a source stand there.
pub fn python_source(data: &[u8]) {
    let source = text(data);
    let lines = source.split('\n').count();
    for line in runyard_build::probe::calls(&source, "runpod.serverless.start") {
        assert!((1..=lines).contains(&(line as usize)), "line {line} of {lines}");
    }
    for name in source::env_read(&source) {
        assert!(!name.is_empty() && source.contains(&name), "{name:?}");
    }
    for module in source::imports(&source) {
        assert!(source.contains(&module) && !module.contains('.'), "{module:?}");
    }
}

/// Test requests have an input that is JSON, or the file is refused with its name and a place.
pub fn test_cases(data: &[u8]) {
    for file in [".runpod/tests.json", "test_input.json"] {
        let dir = folder(&[(file, &text(data))]);
        match runyard_build::tests_of(dir.path()) {
            Ok(cases) => {
                for case in cases {
                    let input = serde_json::from_str::<&serde_json::value::RawValue>(&case.input);
                    assert!(input.is_ok_and(|input| input.get() != "null"), "{case:?}");
                }
            }
            Err(error) => assert!(error.to_string().starts_with(file), "{error}"),
        }
    }
}

/// A `runyard.toml` of any content asks for settings within their bounds, or is refused in one line; the file that is
/// written of what it asks for asks for the same. The first line names an environment.
pub fn project_file(data: &[u8]) {
    let (environment, content) = two(data);
    let environment = Some(environment.as_str()).filter(|name| !name.is_empty());
    let wanted = match runyard_project::read(&content, environment) {
        Ok(wanted) => wanted,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    wanted.settings.check().expect("settings are within their bounds");
    assert!(wanted.python.wrong().is_none());
    let asked = wanted.release(false, None);
    assert!(asked.contains_key("settings") && asked.contains_key("env"));
    let live = Live {
        name: "x".to_owned(),
        settings: wanted.settings.clone(),
        handler: None,
        python: wanted.python.clone(),
        built: None,
        env: wanted.env.clone(),
    };
    let text = runyard_project::write(&live);
    let again = runyard_project::read(&text, None).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((again.settings, again.env, again.python), (wanted.settings, wanted.env, wanted.python));
}

/// A catalogue's description is read or refused with the key that is wrong; every default fits its own field, so that
/// only what is required is missing.
pub fn catalog_entry(data: &[u8]) {
    let listing = match Listing::parse(&text(data)) {
        Ok(listing) => listing,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(!listing.title.is_empty() && listing.env.len() <= MOST && listing.presets.len() <= MOST);
    let mut given = std::collections::BTreeMap::new();
    for variable in &listing.env {
        let Some(field) = variable.field.as_ref().filter(|field| field.required && field.default.is_none())
        else {
            continue;
        };
        let value = match (&field.kind, field.options.first()) {
            (_, Some(choice)) => choice.value.clone(),
            (Kind::Number { min, max }, None) => min.or(*max).unwrap_or(1.0).to_string(),
            (Kind::Switch { on, .. }, None) => on.clone(),
            (Kind::Text | Kind::Model, None) => "x".to_owned(),
        };
        given.insert(variable.name.clone(), value);
    }
    match listing.env(&given, None) {
        Ok(env) => assert!(env.keys().all(|name| !name.is_empty() && !name.contains(['=', '\0']))),
        Err(why) => assert!(why.contains("has to be given") || why.contains("must be"), "{why}"),
    }
}
