//! Container images: which one a release runs, what its containers get, and why one could not be started. Whether
//! an image fits a machine is decided here, before any traffic; looking at images and machines is done elsewhere.

use serde::{Deserialize, Serialize};

use crate::registry::is_valid_name;

mod fault;
mod fit;

pub use fault::Fault;
pub use fit::{Driver, Facts, Needs, check};

/// Where the first volume of an endpoint appears in its workers, as on RunPod.
pub const VOLUME_PATH: &str = "/runpod-volume";

/// The image of a release: resolved once, so that every worker of the release runs the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// As its user wrote it, or the tag that its build got.
    pub name: String,
    /// What the engine knows it by, `sha256:…`.
    pub id: String,
    /// Name and digest under which its registry has it; `None` for one that was built here.
    #[serde(default)]
    pub digest: Option<String>,
    /// Where its engine listens.
    pub engine: String,
    /// The name of the registry login that it was pulled with, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// What is run instead of the image's own entrypoint.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// What is run instead of the image's own command.
    #[serde(default)]
    pub command: Option<Vec<String>>,
}

/// What each container of an endpoint gets. 0 leaves it to the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Processors, in thousandths.
    pub cpu_millis: u32,
    /// Memory, in MiB; a container that uses more is ended.
    pub memory_mib: u32,
    /// Processes and threads.
    pub pids: u32,
    /// Shared memory at `/dev/shm`, in MiB.
    pub shm_mib: u32,
    /// Volumes that outlive containers.
    pub volumes: Vec<Volume>,
    /// The name of the login that its image is pulled with; empty: the one for the image's registry.
    pub registry: String,
}

impl Container {
    /// What is wrong with it: the field, and what is allowed.
    pub fn wrong(&self) -> Option<(&'static str, String, &'static str)> {
        if self.memory_mib != 0 && self.memory_mib < 6 {
            return Some(("container.memory_mib", self.memory_mib.to_string(), "at least 6 MiB, or 0"));
        }
        if self.cpu_millis != 0 && self.cpu_millis < 10 {
            return Some(("container.cpu_millis", self.cpu_millis.to_string(), "at least 10, or 0"));
        }
        if !self.registry.is_empty() && !is_valid_name(&self.registry) {
            let allowed = "the name of a registry login: a-z, 0-9, '-', '_', '.'; or empty";
            return Some(("container.registry", self.registry.clone(), allowed));
        }
        let bad = self.volumes.iter().find(|volume| !volume.is_valid())?;
        Some(("container.volumes", bad.to_string(), "NAME[:/PATH[:ro]], the name of a-z, 0-9, '-', '_'"))
    }
}

/// A volume in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name; endpoints that name the same one share it.
    pub name: String,
    /// Where containers see it.
    pub path: String,
    /// Whether they may only read it.
    #[serde(default)]
    pub read_only: bool,
}

impl Volume {
    fn is_valid(&self) -> bool {
        let name = (1..=60).contains(&self.name.len())
            && self
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
            && self.name.as_bytes()[0].is_ascii_alphanumeric();
        let steps = || self.path.split('/').skip(1);
        let path = self.path.starts_with('/')
            && self.path.len() > 1
            && steps().all(|step| !step.is_empty() && step != "." && step != "..")
            && !self.path.contains([':', ',', '\0']);
        name && path
    }
}

impl std::fmt::Display for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}{}", self.name, self.path, if self.read_only { ":ro" } else { "" })
    }
}

impl std::str::FromStr for Volume {
    type Err = String;

    /// `models`, `models:/data`, `models:/data:ro`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default().to_owned();
        let path = parts.next().unwrap_or(VOLUME_PATH).to_owned();
        let read_only = match parts.next() {
            None | Some("rw") => false,
            Some("ro") => true,
            Some(other) => return Err(format!("'{other}' is neither 'ro' nor 'rw'")),
        };
        let volume = Self { name, path, read_only };
        if parts.next().is_some() || !volume.is_valid() {
            return Err(format!("'{text}' is not NAME[:/PATH[:ro]]"));
        }
        Ok(volume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_written_short() {
        let read = |text: &str| text.parse::<Volume>().map(|volume| volume.to_string());
        assert_eq!(read("models"), Ok("models:/runpod-volume".to_owned()));
        assert_eq!(read("models:/data:ro"), Ok("models:/data:ro".to_owned()));
        for bad in ["", "/etc:/etc", "a:b", "a:/", "a:/x/../y", "a:/x:no", "a:/x:ro:z", "A"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_too_small_is_named() {
        assert_eq!(Container::default().wrong(), None);
        let small = Container { memory_mib: 2, ..Container::default() };
        assert_eq!(small.wrong().map(|(field, ..)| field), Some("container.memory_mib"));
    }
}
