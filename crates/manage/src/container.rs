//! What a deploy says of a container: which image it runs, or what it is built from. Common to builds with and
//! without containers, so that one without can say so.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runyard_domain::image::Driver;
use serde::Deserialize;

use crate::problem::Problem;

/// What the server knows of containers.
#[derive(Debug, Clone, Default)]
pub struct Containers {
    /// Where the engine listens; else it is looked for at the usual places.
    pub engine: Option<String>,
    /// The GPU driver.
    pub driver: Option<Driver>,
    /// The data directory by its real path: its name is on everything that is made.
    pub data: PathBuf,
    /// A file that names the engines in use.
    pub engines: PathBuf,
    /// Notes of images that were pulled.
    pub pulled: PathBuf,
    /// A folder that only the server reads.
    pub private: PathBuf,
}

/// The image of a release.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Request {
    /// A ready image; else one is built from the bundle.
    pub(crate) image: Option<String>,
    /// The Dockerfile in the bundle.
    pub(crate) dockerfile: Option<String>,
    /// Values for its `ARG`s.
    pub(crate) args: BTreeMap<String, String>,
    /// The stage to build.
    pub(crate) target: Option<String>,
    /// The platform that the image shall be for.
    pub(crate) platform: Option<String>,
    /// Secrets of the build by their ids: used once, and kept nowhere.
    pub(crate) secrets: BTreeMap<String, String>,
    /// What is run instead of the image's entrypoint.
    pub(crate) entrypoint: Option<Vec<String>>,
    /// What is run instead of the image's command.
    pub(crate) command: Option<Vec<String>>,
}

impl Request {
    /// Refuses what cannot be meant.
    pub(crate) fn check(&self, has_bundle: bool) -> Result<(), Problem> {
        if cfg!(not(feature = "docker")) {
            return Err(Problem::invalid("this runyard was built without containers (feature `docker`)"));
        }
        let is_id = |id: &String| {
            !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        if let Some(id) = self.secrets.keys().find(|id| !is_id(id)) {
            return Err(Problem::invalid(format!(
                "{id:?} cannot name a secret: letters, digits, '_' and '-' can"
            )));
        }
        match (&self.image, has_bundle) {
            (Some(_), true) => {
                Err(Problem::invalid("either 'bundle' is built or 'container.image' is run, not both"))
            }
            (None, false) => {
                Err(Problem::invalid("name the 'container.image' to run, or the 'bundle' to build"))
            }
            (Some(image), false) if !is_reference(image) => {
                Err(Problem::invalid(format!("{image:?} cannot name an image"))
                    .hint("as ghcr.io/me/worker:v1"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether an engine could read this as an image's name. The engine says the rest.
fn is_reference(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-:/@".contains(&b);
    (1..=512).contains(&name.len())
        && name.bytes().all(allowed)
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_or_a_bundle() {
        let ready = Request { image: Some("ghcr.io/me/w:v1@sha256:00".to_owned()), ..Request::default() };
        assert!(ready.check(false).is_ok() && ready.check(true).is_err());
        assert!(Request::default().check(true).is_ok() && Request::default().check(false).is_err());
        for bad in ["", "a b", "../x", "-x", "a?b"] {
            assert!(
                Request { image: Some(bad.to_owned()), ..Request::default() }.check(false).is_err(),
                "{bad}"
            );
        }
    }
}
