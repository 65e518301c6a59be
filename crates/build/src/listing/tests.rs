//! A whole description, what goes before what in its variables, and mistakes with their keys.

use std::fs;

use super::*;

const FULL: &str = r#"{"title": "LLM", "description": "A model.", "type": "serverless", "category": "language",
  "iconUrl": "https://x/y.png", "config": {"runsOn": "GPU", "gpuCount": 2, "gpuIds": "ADA_24,-NVIDIA L4",
  "containerDiskInGb": 20, "allowedCudaVersions": ["12.8"], "env": [
    {"key": "FIXED", "value": 3},
    {"key": "MODEL", "input": {"name": "Model", "type": "huggingface", "required": true, "description": "Which"}},
    {"key": "LEN", "input": {"name": "Length", "type": "number", "min": 1, "max": 10, "default": 4}},
    {"key": "FAST", "input": {"type": "boolean", "default": true, "trueValue": "yes", "falseValue": "no"}},
    {"key": "KIND", "input": {"type": "string", "advanced": true, "options": [{"label": "A", "value": "a"}, "b"]}}],
  "presets": [{"name": "small", "defaults": {"MODEL": "m/s", "LEN": 2}}], "strange": 1}, "odd": 2}"#;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_whole_file_is_read() {
    let listing = Listing::parse(FULL).unwrap();
    assert_eq!((listing.title.as_str(), listing.gpus, listing.disk_gb), ("LLM", Some(2), Some(20)));
    assert_eq!(listing.gpu_ids.as_deref(), Some("ADA_24,-NVIDIA L4"));
    assert_eq!(listing.unknown, ["odd", "config.strange"]);
    let fields: Vec<&Field> = listing.env.iter().filter_map(|variable| variable.field.as_ref()).collect();
    assert_eq!(fields[0].kind, Kind::Model);
    assert_eq!(fields[1].kind, Kind::Number { min: Some(1.0), max: Some(10.0) });
    assert_eq!((fields[2].default.as_deref(), fields[2].label.as_str()), (Some("yes"), "FAST"));
    assert_eq!((fields[3].advanced, fields[3].options[1].value.as_str()), (true, "b"));
}

#[test]
fn what_is_given_goes_before_presets_and_those_before_defaults() {
    let listing = Listing::parse(FULL).unwrap();
    let small = listing.env(&env(&[("LEN", "9"), ("FAST", "false"), ("OWN", "1")]), Some("small")).unwrap();
    assert_eq!(small, env(&[("FIXED", "3"), ("MODEL", "m/s"), ("LEN", "9"), ("FAST", "no"), ("OWN", "1")]));
    let plain = listing.env(&env(&[("MODEL", "x"), ("KIND", "")]), None).unwrap();
    assert_eq!(plain, env(&[("FIXED", "3"), ("MODEL", "x"), ("LEN", "4"), ("FAST", "yes")]));
    for (given, preset, why) in [
        (&[][..], None, "MODEL (Model) has to be given"),
        (&[("MODEL", "x"), ("LEN", "11")], None, "10 or less"),
        (&[("MODEL", "x"), ("LEN", "many")], None, "must be a number"),
        (&[("MODEL", "x"), ("KIND", "c")], None, "one of a, b"),
        (&[("MODEL", "x"), ("FAST", "maybe")], None, "true or false"),
        (&[], Some("large"), "no preset 'large'"),
    ] {
        let found = listing.env(&env(given), preset).unwrap_err();
        assert!(found.contains(why), "{found}");
    }
}

#[test]
fn mistakes_name_their_key() {
    let of = |text: &str| Listing::parse(text).unwrap_err().to_string();
    assert!(of("{\n \"title\": }").starts_with("line 2, column"), "{}", of("{\n \"title\": }"));
    for (config, says) in [
        (r#"{"env": 1}"#, "'config.env' must be a list"),
        (r#"{"env": [{"key": ""}]}"#, "'config.env[0].key' must be the name of a variable"),
        (
            r#"{"env": [{"key": "A", "input": {"type": "color"}}]}"#,
            "'config.env[0].input.type' must be one of",
        ),
        (r#"{"env": [{"key": "A", "value": []}]}"#, "'config.env[0].value' must be a text"),
        (r#"{"env": [{"key": "A", "value": 1}, {"key": "A", "value": 1}]}"#, "'config.env[1].key' is 'A'"),
        (
            r#"{"env": [{"key": "A", "input": {"type": "number", "default": "x"}}]}"#,
            "'config.env[0].input.default'",
        ),
        (
            r#"{"env": [{"key": "A", "input": {"type": "number", "min": 2, "max": 1}}]}"#,
            "'config.env[0].input.min'",
        ),
        (r#"{"presets": [{}]}"#, "'config.presets[0].name' is missing"),
        (r#"{"runsOn": "TPU"}"#, "'config.runsOn' must be GPU or CPU"),
        (r#"{"gpuCount": -1}"#, "'config.gpuCount' must be a whole number"),
        (r#"{"endpointType": "LB"}"#, "'config.endpointType' is LB"),
    ] {
        let found = of(&format!("{{\"title\": \"x\", \"config\": {config}}}"));
        assert!(found.starts_with(says), "{found}");
    }
    assert_eq!(of("{}"), "'title' is missing");
    assert_eq!(of("[]"), "'the file' must be an object");
    assert!(of(&format!("{{\"title\": \"{}\"}}", "x".repeat(5_000))).contains("more than 4000 characters"));
}

#[test]
fn the_file_lies_in_one_of_two_places() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(text_of(dir.path()).unwrap(), None);
    fs::write(dir.path().join("hub.json"), "{}").unwrap();
    assert_eq!(text_of(dir.path()).unwrap().unwrap().0, PathBuf::from("hub.json"));
    fs::create_dir(dir.path().join(".runpod")).unwrap();
    fs::write(dir.path().join(".runpod/hub.json"), "{}").unwrap();
    assert_eq!(text_of(dir.path()).unwrap().unwrap().0, PathBuf::from(".runpod/hub.json"));
}
