//! A release: an immutable version of an endpoint. Only its state moves, and only forward or between
//! serving and retired.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::git::Commit;
use crate::image::{Container, Image};
use crate::{EndpointId, FailReason, Gpus, Settings, Timestamp};

/// Where a release is in its life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ReleaseState {
    /// Its environment is being prepared.
    Building,
    /// Its test requests run on a worker of its own, without traffic.
    Testing,
    /// It passed and may serve.
    Ready,
    /// It did not pass; it never gets traffic.
    Failed {
        /// Why, in the words users see.
        reason: FailReason,
    },
}

/// What a worker of the release executes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// The program and its arguments, absolute paths (for Python: interpreter, `-u`, handler file).
    pub command: Vec<String>,
    /// The folder with the user's code, read-only to the worker.
    pub code_dir: String,
    /// The code runs where its author works on it: the worker starts in `code_dir` and may write there.
    #[serde(default)]
    pub in_place: bool,
    /// Folders beside the code that the worker may read (the Python environment).
    pub read_dirs: Vec<String>,
    /// The image that is run instead, where workers are containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// The image that this command stands for, where the configuration says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<String>,
}

impl Launch {
    /// The image, be it run or stood for.
    pub fn image_name(&self) -> Option<&str> {
        self.image.as_ref().map(|image| image.name.as_str()).or(self.stands_for.as_deref())
    }
}

/// What workers are started with beside their code, variables and GPUs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// What its containers get, where its workers are containers.
    pub container: Container,
    /// The id of the network volume that its workers see.
    pub network_volume: Option<String>,
}

impl Given {
    /// What the settings give.
    pub fn of(settings: &Settings) -> Self {
        Self { container: settings.container.clone(), network_volume: settings.network_volume.clone() }
    }
}

impl Release {
    /// What else its workers get beside GPUs.
    pub fn given(&self, settings: &Settings) -> Given {
        self.given.clone().unwrap_or_else(|| Given::of(settings))
    }

    /// Settings as far as they are what its workers were started with.
    pub fn held(&self, settings: &Settings) -> Settings {
        let Given { container, network_volume } = self.given(settings);
        Settings { gpus: self.gpus.clone(), container, network_volume, ..settings.clone() }
    }
}

/// What was asked of a release's Python. What is not asked, the files of its code say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PythonWish {
    /// The interpreter: `3.12`, or a specifier as `>=3.10,<3.13`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The file with the requirements, below the code's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requirements: Option<String>,
}

impl PythonWish {
    /// Nothing was asked.
    pub fn is_empty(&self) -> bool {
        self.version.is_none() && self.requirements.is_none()
    }

    /// What is wrong with it: the field, and what it must be.
    pub fn wrong(&self) -> Option<(&'static str, &'static str)> {
        let is_version = |text: &String| {
            let known = |b: u8| b.is_ascii_digit() || b" .,<>=!~*".contains(&b);
            text.len() <= 60 && text.bytes().all(known) && text.contains(|c: char| c.is_ascii_digit())
        };
        if self.version.as_ref().is_some_and(|version| !is_version(version)) {
            return Some(("version", "a version of Python, as 3.12 or >=3.10,<3.13"));
        }
        if self.requirements.as_ref().is_some_and(|file| !crate::git::is_inner_path(file)) {
            return Some(("requirements", "a file below the folder, as requirements/worker.txt"));
        }
        None
    }
}

/// An immutable version of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Whose release it is.
    pub endpoint: EndpointId,
    /// Rising from 1.
    pub number: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it: a key's id, or `local`.
    pub created_by: String,
    /// Its life.
    pub state: ReleaseState,
    /// The handler's file, relative to the code folder.
    pub handler: String,
    /// SHA-256 of the bundle, in hex.
    pub bundle: String,
    /// SHA-256 that names the Python environment.
    pub environment: String,
    /// The interpreter's version, as `3.11.7`.
    pub python: String,
    /// What was asked of the interpreter and the requirements.
    #[serde(default, skip_serializing_if = "PythonWish::is_empty")]
    pub python_wish: PythonWish,
    /// What workers execute; `None` until the environment stands.
    pub launch: Option<Launch>,
    /// Plain environment variables; where they refer to secrets, the references.
    pub env: BTreeMap<String, String>,
    /// Secure variables: their values, sealed, in base64. They are the release's own, so that going back to it goes
    /// back to them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secure_env: BTreeMap<String, String>,
    /// Names of environment variables that the handler's source reads.
    pub env_read: Vec<String>,
    /// GPUs of each worker, copied from the settings at the time.
    pub gpus: Gpus,
    /// What else its workers get, likewise; `None` where it is older than this field: then the settings hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
    /// A note by the user.
    pub note: Option<String>,
    /// The commit that it was made of, where it came from a Git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// How long its deploy took, until it was ready or had failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<i64>,
}
