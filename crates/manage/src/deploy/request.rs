//! What a deploy is asked for, as it comes over the wire or from a repository.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runyard_domain::git::Commit;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::container;
use crate::problem::Problem;

#[derive(Deserialize, Default)]
pub(crate) struct Request {
    pub(crate) bundle: Option<String>,
    /// A folder on the server's machine, run in place: only for the owner of the data directory.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) handler: Option<PathBuf>,
    /// Its workers are containers.
    pub(crate) container: Option<container::Request>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) settings: Map<String, Value>,
    pub(crate) note: Option<String>,
    #[serde(default)]
    pub(crate) create: bool,
    /// The commit that it was made of; nobody says so but this server's own reading of a repository.
    #[serde(skip)]
    pub(crate) commit: Option<Commit>,
    /// Whether the folder's test requests run before the release gets traffic; its worker has to come up
    /// in any case.
    #[serde(default = "yes")]
    pub(crate) tests: bool,
    /// It gets so many of a hundred jobs until it has proved itself.
    pub(crate) canary: Option<u32>,
}

fn yes() -> bool {
    true
}

/// What no environment can hold is refused before it keeps every worker from starting.
pub(crate) fn check_env(env: &BTreeMap<String, String>) -> Result<(), Problem> {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let name: String = name.chars().take(60).collect();
            return Err(Problem::invalid(format!(
                "{name:?} cannot be a variable: a name is not empty and holds no '=', and neither it nor its value \
                 holds a zero byte"
            )));
        }
    }
    Ok(())
}
