//! A `hub.json` read key by key.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::keys::{Keys, wrong};
use super::{Choice, Field, Kind, LARGEST, Listing, ListingError, MOST, Preset, Variable};

/// The most GPUs of a worker, and GB of its disk.
const MOST_GPUS: u32 = 1_000;
const MOST_GB: u32 = 100_000;

const CATEGORIES: [&str; 5] = ["audio", "embedding", "language", "video", "image"];

pub(super) fn listing(text: &str) -> Result<Listing, ListingError> {
    if text.len() > LARGEST {
        return Err(ListingError::Read(format!("it has more than {} KiB", LARGEST >> 10)));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let words = error.to_string();
        let problem = words.split(" at line ").next().unwrap_or(&words).to_owned();
        ListingError::Syntax { line: error.line(), column: error.column(), problem }
    })?;
    let mut unknown = Vec::new();
    let mut top = Keys::of("", &value)?;
    let title = top.text("title")?.filter(|title| !title.trim().is_empty());
    let description = top.text("description")?.unwrap_or_default();
    if let Some(kind) = top.text("type")?.filter(|kind| !kind.eq_ignore_ascii_case("serverless")) {
        return Err(wrong("type", format!("is '{kind}': only 'serverless' is deployed here")));
    }
    let category = top.text("category")?.unwrap_or_default();
    if !category.is_empty() && !CATEGORIES.contains(&category.as_str()) {
        return Err(wrong("category", format!("must be one of {}", CATEGORIES.join(", "))));
    }
    // Pictures of other servers are not fetched: who looks here would be told there.
    top.text("iconUrl")?;
    let config = top.get("config");
    top.rest(&mut unknown);
    let mut listing = Listing {
        title: title.ok_or_else(|| wrong("title", "is missing"))?,
        description,
        category,
        ..Listing::default()
    };
    if let Some(config) = config {
        configure(&mut listing, config, &mut unknown)?;
    }
    listing.unknown = unknown;
    Ok(listing)
}

fn configure(listing: &mut Listing, config: &Value, unknown: &mut Vec<String>) -> Result<(), ListingError> {
    let mut keys = Keys::of("config", config)?;
    if keys.text("endpointType")?.is_some_and(|kind| kind.eq_ignore_ascii_case("lb")) {
        return Err(wrong("config.endpointType", "is LB, a load balancer: endpoints here are queues"));
    }
    let on = keys.text("runsOn")?;
    let count = keys.count("gpuCount", MOST_GPUS)?;
    listing.gpus = match on.as_deref() {
        Some(on) if on.eq_ignore_ascii_case("cpu") => Some(0),
        Some(on) if on.eq_ignore_ascii_case("gpu") => Some(count.unwrap_or(1)),
        Some(_) => return Err(wrong("config.runsOn", "must be GPU or CPU")),
        None => count,
    };
    listing.gpu_ids = keys.text("gpuIds")?.filter(|ids| !ids.trim().is_empty());
    listing.disk_gb = keys.count("containerDiskInGb", MOST_GB)?;
    keys.text("cpuFlavor")?;
    for (place, version) in keys.list("allowedCudaVersions", MOST)? {
        let version = version.as_str().ok_or_else(|| wrong(&place, "must be a text as \"12.8\""))?;
        listing.cuda_versions.push(version.chars().take(20).collect());
    }
    let mut names = BTreeSet::new();
    for (place, entry) in keys.list("env", MOST)? {
        let variable = variable(&place, entry, unknown)?;
        if !names.insert(variable.name.clone()) {
            return Err(wrong(
                &format!("{place}.key"),
                format!("is '{}', which is there twice", variable.name),
            ));
        }
        listing.env.push(variable);
    }
    for (place, entry) in keys.list("presets", MOST)? {
        listing.presets.push(preset(&place, entry, unknown)?);
    }
    keys.rest(unknown);
    Ok(())
}

fn variable(place: &str, entry: &Value, unknown: &mut Vec<String>) -> Result<Variable, ListingError> {
    let mut keys = Keys::of(place, entry)?;
    let name = keys.text("key")?.unwrap_or_default();
    if name.is_empty() || name.contains(['=', '\0']) || name.len() > 200 {
        return Err(wrong(&keys.place("key"), "must be the name of a variable"));
    }
    let fixed = keys.get("value").map(|value| plain(&keys.place("value"), value)).transpose()?;
    let input = keys.get("input");
    keys.rest(unknown);
    let field = match (input, &fixed) {
        (Some(input), _) => Some(field(&keys.place("input"), input, &name, fixed.as_ref(), unknown)?),
        (None, Some(_)) => None,
        // Neither a value nor a question: it may be given.
        (None, None) => Some(Field {
            label: name.clone(),
            kind: Kind::Text,
            help: String::new(),
            default: None,
            required: false,
            advanced: true,
            options: Vec::new(),
        }),
    };
    Ok(Variable { name, field, fixed: fixed.unwrap_or_default() })
}

fn field(
    place: &str,
    input: &Value,
    name: &str,
    fixed: Option<&String>,
    unknown: &mut Vec<String>,
) -> Result<Field, ListingError> {
    let mut keys = Keys::of(place, input)?;
    let label = keys.text("name")?.filter(|label| !label.is_empty()).unwrap_or_else(|| name.to_owned());
    let (min, max) = (keys.number("min")?, keys.number("max")?);
    let (on, off) = (keys.text("trueValue")?, keys.text("falseValue")?);
    let kind = match keys.text("type")?.as_deref() {
        None | Some("string") => Kind::Text,
        Some("huggingface") => Kind::Model,
        Some("number") => Kind::Number { min, max },
        Some("boolean") => Kind::Switch {
            on: on.unwrap_or_else(|| "true".to_owned()),
            off: off.unwrap_or_else(|| "false".to_owned()),
        },
        Some(_) => {
            return Err(wrong(&keys.place("type"), "must be one of string, number, boolean, huggingface"));
        }
    };
    if let (Kind::Number { min: Some(min), max: Some(max) }, true) = (&kind, min > max) {
        return Err(wrong(&keys.place("min"), format!("is {min}, more than 'max', {max}")));
    }
    let mut options = Vec::new();
    for (at, option) in keys.list("options", MOST)? {
        options.push(choice(&at, option, unknown)?);
    }
    let default =
        keys.get("default").map(|value| default_of(&keys.place("default"), value, &kind)).transpose()?;
    let field = Field {
        label,
        kind,
        help: keys.text("description")?.unwrap_or_default(),
        default: default.or_else(|| fixed.cloned()),
        required: keys.flag("required")?,
        advanced: keys.flag("advanced")?,
        options,
    };
    keys.rest(unknown);
    if let Some(default) = field.default.as_ref().filter(|default| !default.is_empty()) {
        field
            .value(name, default)
            .map_err(|why| wrong(&keys.place("default"), format!("does not fit: {why}")))?;
    }
    Ok(field)
}

fn default_of(place: &str, value: &Value, kind: &Kind) -> Result<String, ListingError> {
    match (value, kind) {
        (Value::Bool(flag), Kind::Switch { on, off }) => Ok(if *flag { on.clone() } else { off.clone() }),
        _ => plain(place, value),
    }
}

fn choice(place: &str, option: &Value, unknown: &mut Vec<String>) -> Result<Choice, ListingError> {
    if !option.is_object() {
        let value = plain(place, option)?;
        return Ok(Choice { label: value.clone(), value });
    }
    let mut keys = Keys::of(place, option)?;
    let value = keys.get("value").ok_or_else(|| wrong(&keys.place("value"), "is missing"))?;
    let value = plain(&keys.place("value"), value)?;
    let label = keys.text("label")?.filter(|label| !label.is_empty()).unwrap_or_else(|| value.clone());
    keys.rest(unknown);
    Ok(Choice { label, value })
}

fn preset(place: &str, entry: &Value, unknown: &mut Vec<String>) -> Result<Preset, ListingError> {
    let mut keys = Keys::of(place, entry)?;
    let name = keys.text("name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| wrong(&keys.place("name"), "is missing"))?;
    let defaults = keys.get("defaults");
    keys.rest(unknown);
    let mut values = BTreeMap::new();
    if let Some(defaults) = defaults {
        let at = keys.place("defaults");
        let map = defaults.as_object().ok_or_else(|| wrong(&at, "must be an object"))?;
        if map.len() > MOST {
            return Err(wrong(&at, format!("has more than {MOST} keys")));
        }
        for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            values.insert(name.clone(), plain(&format!("{at}.{name}"), value)?);
        }
    }
    Ok(Preset { name, values })
}

/// A text, a number or a flag as a variable has it.
fn plain(place: &str, value: &Value) -> Result<String, ListingError> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => return Err(wrong(place, "must be a text, a number, true or false")),
    };
    if text.len() > 8_192 || text.contains('\0') {
        return Err(wrong(place, "is longer than 8 KiB, or holds a zero byte"));
    }
    Ok(text)
}
