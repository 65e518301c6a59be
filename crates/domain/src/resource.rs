//! What endpoints are described by beside their settings, and what they share: the container that a user asked for,
//! templates of it, network volumes, public SSH keys. Each is a record of its own; what a wire calls their parts
//! stays at the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Gpus, ResourceId, Timestamp, gpu};

/// A container as a user asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// The image's name.
    pub image: String,
    /// What is run instead of the image's own command, as one line; empty: nothing is.
    pub args: String,
    /// The size of its own disk in GB, where one was said. Kept and shown, and not enforced.
    pub disk_gb: Option<u32>,
    /// Plain environment variables.
    pub env: BTreeMap<String, String>,
    /// Ports as `8888/http`. Kept and shown: workers of a queue listen on none.
    pub ports: Vec<String>,
    /// The registry whose credentials pull the image.
    pub registry: Option<String>,
}

/// Which workers an endpoint asks for: GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuChoice {
    /// Pools, most wanted first.
    pub pools: Vec<String>,
    /// Types of these pools that are not wanted.
    pub excluded: Vec<String>,
    /// GPUs of each worker.
    pub count: u32,
    /// CUDA versions that will do; empty: any.
    pub cuda_versions: Vec<String>,
    /// The oldest CUDA that will do.
    pub min_cuda: Option<String>,
}

/// Which workers an endpoint asks for: processors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuChoice {
    /// The flavour.
    pub id: String,
    /// Processors of each worker.
    pub vcpus: u32,
}

/// Which levels of warm start an endpoint may use: how readily its idle workers give their GPUs to others. There is no
/// level between an idle worker and a cold start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlashBoot {
    /// Idle workers are the first to give way.
    Off,
    /// They give way by how long they have been idle.
    #[default]
    On,
    /// They give way last.
    Priority,
}

/// What an endpoint was asked to be, where it was described by an image and not by code. Its releases are made of it,
/// one for each `revision`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blueprint {
    /// The name as its user wrote it; the endpoint's own is made of it.
    pub title: String,
    /// Its workers' container.
    pub config: ContainerConfig,
    /// GPUs, where its workers have some.
    pub gpu: Option<GpuChoice>,
    /// Else processors.
    pub cpus: Vec<CpuChoice>,
    /// Where it may run; empty: anywhere.
    pub data_centers: Vec<String>,
    /// The network volumes of its workers.
    pub volumes: Vec<ResourceId>,
    /// Rises with each change that needs a release.
    pub revision: u32,
    /// The newest revision of which a release was made, or could not be made.
    pub built: u32,
    /// Why no release could be made of `built`, where none could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl GpuChoice {
    /// What is asked for, as a setting. A pool may also be a type's own name.
    pub fn gpus(&self) -> Result<Gpus, String> {
        let kinds = self.pools.iter().map(|pool| pool.parse::<gpu::Kind>()).collect::<Result<_, _>>()?;
        Ok(Gpus::of(self.count, kinds, self.excluded.iter().map(|name| name.trim().to_owned()).collect()))
    }
}

impl Blueprint {
    /// The GPUs of its workers, as a setting.
    pub fn gpus(&self) -> Result<Gpus, String> {
        self.gpu.as_ref().map_or_else(|| Ok(Gpus::default()), GpuChoice::gpus)
    }

    /// Whether a release is still to be made.
    pub fn is_behind(&self) -> bool {
        self.built < self.revision
    }
}

/// Of whose GPUs or processors a template is meant for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// None.
    Cpu,
    /// NVIDIA's.
    #[default]
    Nvidia,
    /// AMD's.
    Amd,
}

/// A container that is described once and used by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// The container.
    pub config: ContainerConfig,
    /// Size in GB and path of the disk that pods keep.
    pub persistent: Option<(u32, String)>,
    /// For endpoints; else for pods.
    pub serverless: bool,
    /// Whether others may see it, where there are others.
    pub public: bool,
    /// What it is meant for.
    pub category: Category,
    /// Whether pods get SSH.
    pub start_ssh: bool,
    /// Whether pods get Jupyter.
    pub start_jupyter: bool,
    /// CUDA versions that will do; empty: any.
    pub cuda_versions: Vec<String>,
}

/// A folder that outlives workers and is shared by endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkVolume {
    /// Its size in GB: a number that is kept, not a bound that is enforced.
    pub size_gb: u32,
    /// Where it is.
    pub data_center: String,
    /// Whether the faster kind was asked for.
    pub fast: bool,
}

/// The id of the one record of SSH keys.
pub const SSH_KEYS: &str = "ssh-keys";

/// What a record is, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// A template.
    Template(Template),
    /// A network volume.
    NetworkVolume(NetworkVolume),
    /// Credentials for registries of images.
    Registry {
        /// The names of their logins, each for one registry.
        logins: Vec<String>,
    },
    /// The public keys that pods shall take, one line each.
    SshKeys {
        /// In the order in which they were written.
        keys: Vec<String>,
    },
}

/// A record of one of these kinds, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Unique among all kinds.
    pub id: ResourceId,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it is.
    pub kind: Kind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_as_they_were() {
        let kinds = [
            Kind::SshKeys { keys: vec!["ssh-ed25519 AAAA me".to_owned()] },
            Kind::NetworkVolume(NetworkVolume { size_gb: 10, data_center: "L".to_owned(), fast: false }),
        ];
        for kind in kinds {
            let resource =
                Resource { id: ResourceId::new("r"), name: "n".to_owned(), created_at: Timestamp(1), kind };
            let text = serde_json::to_string(&resource).expect("JSON");
            assert_eq!(serde_json::from_str::<Resource>(&text).expect("the same"), resource);
        }
    }
}
