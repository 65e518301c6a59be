//! Images that are no containers here: the server's configuration says which local command runs for a name, so that
//! clients that only know images work on a machine without an engine. Deploys of both APIs look here first.

use std::path::{Path, PathBuf};

use runyard_domain::FailReason;
use runyard_domain::release::Launch;

use crate::deploy::Deploy;
use crate::problem::Problem;
use crate::{Manage, container};

/// What runs instead of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalImage {
    /// The program and its arguments; empty: the handler in the folder, with an environment of what it requires.
    pub command: Vec<String>,
    /// The folder that it starts with, as of a worker's code.
    pub path: PathBuf,
}

/// Where programs are looked for, beside the folder of the image.
const PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

impl Manage {
    /// The local command for an image.
    pub(crate) fn local_image(&self, request: &container::Request) -> Option<LocalImage> {
        self.inner.rest.options.images.get(request.image.as_deref()?).cloned()
    }

    /// Refuses an image that nothing here could run, before anything is kept of it.
    #[cfg_attr(
        not(feature = "docker"),
        expect(clippy::unused_async, reason = "an engine is asked, where there is one")
    )]
    pub(crate) async fn can_run(&self, image: &str) -> Result<(), Problem> {
        if self.inner.rest.options.images.contains_key(image) {
            return Ok(());
        }
        let request = container::Request { image: Some(image.to_owned()), ..container::Request::default() };
        let hint = "an image can also be mapped to a local command: see [images] in server.toml";
        request.check(false).map_err(|problem| Problem::not_here(problem.words()).hint(hint))?;
        #[cfg(feature = "docker")]
        if let Err(fault) = self.engine().await {
            let detail = format!("the image '{image}' cannot be run here: {}", fault.sentence());
            return Err(Problem::not_here(detail).hint(hint));
        }
        Ok(())
    }
}

impl Deploy {
    /// Takes the command that the configuration names. `more` comes behind it.
    pub(crate) async fn prepare_local(
        &mut self,
        name: &str,
        image: LocalImage,
        more: &[String],
    ) -> Result<(), FailReason> {
        let LocalImage { command, path } = image;
        if !path.is_dir() {
            let message = format!("the image '{name}' is mapped to {}, which is no folder", path.display());
            return Err(FailReason::Environment { message, last_lines: Vec::new() });
        }
        self.say("image", "done", &format!("{name} is a local command here"));
        if command.is_empty() {
            self.prepare_folder(&path, None).await?;
            if let Some(launch) = &mut self.release.launch {
                launch.stands_for = Some(name.to_owned());
            }
            return Ok(());
        }
        let mut command = command;
        command[0] = program(&command[0], &path).ok_or_else(|| {
            let message =
                format!("the image '{name}' is mapped to the command '{}', which is not there", command[0]);
            FailReason::Environment { message, last_lines: Vec::new() }
        })?;
        command.extend_from_slice(more);
        name.clone_into(&mut self.release.handler);
        self.release.launch = Some(Launch {
            command,
            code_dir: path.display().to_string(),
            in_place: false,
            read_dirs: Vec::new(),
            image: None,
            stands_for: Some(name.to_owned()),
        });
        Ok(())
    }
}

/// A program as an absolute path: one that is named so, one in the folder, one of the system's.
fn program(name: &str, folder: &Path) -> Option<String> {
    let places = if name.starts_with('/') {
        vec![PathBuf::from(name)]
    } else if name.contains('/') {
        vec![folder.join(name)]
    } else {
        PATH.iter().map(|dir| Path::new(dir).join(name)).collect()
    };
    places.into_iter().find(|path| path.is_file()).map(|path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_where_they_lie() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("bin"))?;
        std::fs::write(dir.path().join("bin/run"), "")?;
        let own = dir.path().join("bin/run").display().to_string();
        assert_eq!(
            program("./bin/run", dir.path()),
            Some(dir.path().join("./bin/run").display().to_string())
        );
        assert_eq!(program(&own, Path::new("/")), Some(own));
        assert!(program("sh", dir.path()).is_some_and(|path| path.ends_with("/sh")));
        assert_eq!(program("run", dir.path()), None);
        Ok(())
    }
}
