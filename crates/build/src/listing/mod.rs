//! An entry of a catalogue: all of a `hub.json`, RunPod's description of a repository for its Hub. Where
//! [`crate::hub`] takes what a deploy needs and forgives the rest, this reads what a page shows and asks for, says which
//! key is wrong, and remarks on keys that mean nothing here.

mod keys;
mod read;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::read as files;

/// Where it lies, the first that is there.
pub const PLACES: [&str; 2] = [".runpod/hub.json", "hub.json"];

/// The largest file, in bytes.
pub const LARGEST: usize = 256 << 10;

/// Most variables, options of one, and presets.
pub const MOST: usize = 100;

/// What is wrong with the file.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ListingError {
    /// It is no JSON.
    #[error("line {line}, column {column}: {problem}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        problem: String,
    },
    /// A key has a value that it cannot have.
    #[error("'{key}' {problem}")]
    Key {
        /// Where it is, as `config.env[2].input.type`.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It could not be read.
    #[error("it cannot be read: {0}")]
    Read(String),
}

/// What somebody who deploys it is asked for, and how.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A line of text.
    Text,
    /// The name of a model of Hugging Face's.
    Model,
    /// A number, within these bounds.
    Number {
        /// The least.
        min: Option<f64>,
        /// The most.
        max: Option<f64>,
    },
    /// A switch, with the values of its two positions.
    Switch {
        /// Its value when it is on.
        on: String,
        /// Its value when it is off.
        off: String,
    },
}

/// One of the values that a variable may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// As people read it.
    pub label: String,
    /// As the variable has it.
    pub value: String,
}

/// A field of the form.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// As people read it.
    pub label: String,
    /// What may be written.
    pub kind: Kind,
    /// What it is for.
    pub help: String,
    /// What it is where nothing is said, as the variable has it.
    pub default: Option<String>,
    /// Whether it has to be something.
    pub required: bool,
    /// Whether only few people need it.
    pub advanced: bool,
    /// The values to choose from; none: any will do.
    pub options: Vec<Choice>,
}

/// A variable of the workers.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What is asked; `None`: it is `fixed`.
    pub field: Option<Field>,
    /// What it is where nothing is asked.
    pub fixed: String,
}

/// Values that go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// As people read it.
    pub name: String,
    /// By variable.
    pub values: BTreeMap<String, String>,
}

/// An entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// Its title.
    pub title: String,
    /// What it is.
    pub description: String,
    /// Its kind: `audio`, `embedding`, `language`, `video`, `image`.
    pub category: String,
    /// GPUs of a worker, where it says so.
    pub gpus: Option<u32>,
    /// Which ones, as RunPod writes it: `ADA_24,-NVIDIA L4`.
    pub gpu_ids: Option<String>,
    /// Disk of a container in GB.
    pub disk_gb: Option<u32>,
    /// CUDA versions that will do; empty: any.
    pub cuda_versions: Vec<String>,
    /// Its variables, in their order.
    pub env: Vec<Variable>,
    /// Its presets.
    pub presets: Vec<Preset>,
    /// Keys that mean nothing here.
    pub unknown: Vec<String>,
}

impl Listing {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// Which key is wrong, and how.
    pub fn parse(text: &str) -> Result<Self, ListingError> {
        read::listing(text)
    }

    /// The variables of a release: what is fixed, what was given, else the preset, else the default. `given` may hold
    /// others, too. An empty value of what need not be there is none.
    ///
    /// # Errors
    /// What somebody has to give, or gave wrongly.
    pub fn env(
        &self,
        given: &BTreeMap<String, String>,
        preset: Option<&str>,
    ) -> Result<BTreeMap<String, String>, String> {
        let preset = match preset.filter(|name| !name.is_empty()) {
            Some(name) => Some(self.presets.iter().find(|preset| preset.name == name).ok_or_else(|| {
                let all: Vec<&str> = self.presets.iter().map(|preset| preset.name.as_str()).collect();
                format!("it has no preset '{name}'; there are: {}", all.join(", "))
            })?),
            None => None,
        };
        let mut env = given.clone();
        for Variable { name, field, fixed } in &self.env {
            let of_preset = preset.and_then(|preset| preset.values.get(name));
            let Some(field) = field else {
                env.entry(name.clone()).or_insert_with(|| of_preset.unwrap_or(fixed).clone());
                continue;
            };
            let value = given.get(name).or(of_preset).or(field.default.as_ref());
            match value.map(String::as_str).filter(|value| !value.is_empty()) {
                Some(value) => drop(env.insert(name.clone(), field.value(name, value)?)),
                None if field.required => return Err(format!("{name} ({}) has to be given", field.label)),
                None => drop(env.remove(name)),
            }
        }
        Ok(env)
    }
}

impl Field {
    /// A value as the variable has it.
    fn value(&self, name: &str, given: &str) -> Result<String, String> {
        let wrong = |must: String| {
            let shown: String = given.chars().take(60).collect();
            Err(format!("{name} ({}) is '{shown}': it must be {must}", self.label))
        };
        if !self.options.is_empty() && !self.options.iter().any(|choice| choice.value == given) {
            let all: Vec<&str> = self.options.iter().map(|choice| choice.value.as_str()).collect();
            return wrong(format!("one of {}", all.join(", ")));
        }
        match &self.kind {
            Kind::Text | Kind::Model => Ok(given.to_owned()),
            Kind::Switch { on, off } => match given {
                _ if given == on || given == off => Ok(given.to_owned()),
                "true" => Ok(on.clone()),
                "false" => Ok(off.clone()),
                _ => wrong("true or false".to_owned()),
            },
            Kind::Number { min, max } => {
                let number = given.trim().parse::<f64>().ok().filter(|number| number.is_finite());
                let Some(number) = number else { return wrong("a number".to_owned()) };
                match (min, max) {
                    (Some(min), _) if number < *min => wrong(format!("{min} or more")),
                    (_, Some(max)) if number > *max => wrong(format!("{max} or less")),
                    _ => Ok(given.trim().to_owned()),
                }
            }
        }
    }
}

/// The file of a folder and where it lies in it, if there is one.
///
/// # Errors
/// That it cannot be read, or is too large.
pub fn text_of(folder: &Path) -> Result<Option<(PathBuf, String)>, ListingError> {
    for place in PLACES {
        match files::text(&folder.join(place)) {
            Ok(text) if text.len() > LARGEST => {
                return Err(ListingError::Read(format!("it has more than {} KiB", LARGEST >> 10)));
            }
            Ok(text) => return Ok(Some((PathBuf::from(place), text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ListingError::Read(error.to_string())),
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
