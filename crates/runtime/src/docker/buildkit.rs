//! Builds by BuildKit, which speaks to its client in ways that only Docker's own command line has in full: caches and
//! secrets of single steps, frontends by name, credential helpers. Where that is installed on this machine, it builds.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use runyard_domain::image::Fault;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::build::{Build, LIMIT};
use super::container::Labels;
use super::{Engine, Found, credentials};

/// Docker's command line.
const DOCKER: &str = "docker";

/// Secrets as files, for as long as a build runs.
struct Secrets(PathBuf);

impl Secrets {
    /// Writes them below a folder that only we read.
    fn write(folder: &Path, build: &Build) -> io::Result<Self> {
        let dir = folder.join(format!("build-{}", build.tag.replace(['/', ':'], "-")));
        std::fs::create_dir_all(&dir)?;
        let secrets = Self(dir);
        for (id, value) in &build.secrets {
            let mut options = std::fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(secrets.0.join(id))?;
            io::Write::write_all(&mut file, value.as_bytes())?;
        }
        Ok(secrets)
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "secrets of a build are still there");
        }
    }
}

/// Docker's configuration with logins of ours, for as long as a build runs. The passwords are in memory alone: in the
/// folder lies a link to a file that has no other name, and that ends with us.
struct Config {
    folder: PathBuf,
    memory: File,
}

impl Config {
    /// `None` where there are no logins: the command line then finds its configuration by itself.
    fn make(private: &Path, build: &Build) -> io::Result<Option<Self>> {
        if build.logins.is_empty() {
            return Ok(None);
        }
        let mut memory = File::from(rustix::fs::memfd_create("logins", rustix::fs::MemfdFlags::CLOEXEC)?);
        io::Write::write_all(&mut memory, &serde_json::to_vec(&credentials::configuration(&build.logins))?)?;
        let folder = private.join(format!("config-{}", build.tag.replace(['/', ':'], "-")));
        let config = Self { folder, memory };
        std::fs::create_dir_all(&config.folder)?;
        let link = config.folder.join("config.json");
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let own = format!("/proc/{}/fd/{}", std::process::id(), config.memory.as_raw_fd());
        std::os::unix::fs::symlink(own, link)?;
        // Plugins are looked for beside the configuration.
        let plugins = credentials::folder().map(|usual| usual.join("cli-plugins"));
        if let Some(plugins) = plugins.filter(|plugins| plugins.is_dir()) {
            let beside = config.folder.join("cli-plugins");
            if !beside.exists() {
                std::os::unix::fs::symlink(plugins, beside)?;
            }
        }
        Ok(Some(config))
    }

    fn show(&self, command: &mut Command) {
        command.env("DOCKER_CONFIG", &self.folder);
        // Builders that were made by hand are kept with the usual configuration.
        if let Some(usual) = credentials::folder() {
            command.env("BUILDX_CONFIG", usual.join("buildx"));
        }
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "the configuration of a build is still there");
        }
    }
}

impl Engine {
    /// Whether this machine has a command line that builds by BuildKit.
    pub async fn has_buildkit(&self) -> bool {
        let mut help = self.docker_command();
        let help = help.args(["build", "--help"]).stderr(Stdio::null()).output().await;
        help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--secret"))
    }

    fn docker_command(&self) -> Command {
        let mut command = Command::new(DOCKER);
        command.env("DOCKER_HOST", self.address()).env("DOCKER_BUILDKIT", "1").stdin(Stdio::null());
        command.kill_on_drop(true);
        command
    }

    /// [`build`](Self::build) by BuildKit. `private` is a folder that only we read.
    pub async fn build_by_kit(
        &self,
        build: &Build,
        labels: &Labels,
        private: &Path,
        mut on_line: impl FnMut(&str),
    ) -> Result<Result<Found, String>, Fault> {
        let refused = |error: &io::Error| Fault::EngineRefused {
            operation: "build the image".to_owned(),
            message: error.to_string(),
        };
        let secrets = Secrets::write(private, build).map_err(|error| refused(&error))?;
        let config = Config::make(private, build).map_err(|error| refused(&error))?;
        let mut command = self.docker_command();
        if let Some(config) = &config {
            config.show(&mut command);
        }
        command.args(["build", "--progress=plain", "--file"]).arg(build.folder.join(&build.dockerfile));
        command.args(["--tag", &build.tag]);
        for (name, value) in labels.with(&[]) {
            command.arg("--label").arg(format!("{name}={value}"));
        }
        for (name, value) in &build.args {
            command.arg("--build-arg").arg(format!("{name}={value}"));
        }
        for id in build.secrets.keys() {
            command.arg("--secret").arg(format!("id={id},src={}", secrets.0.join(id).display()));
        }
        for (flag, value) in [("--target", &build.target), ("--platform", &build.platform)] {
            if !value.is_empty() {
                command.arg(flag).arg(value);
            }
        }
        let spawned = command.arg(&build.folder).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| refused(&error))?;
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(refused(&io::Error::other("its output is missing")));
        };
        let mut last = String::new();
        let followed = timeout(LIMIT, async {
            let (mut out, mut err) = (BufReader::new(out).lines(), BufReader::new(err).lines());
            let (mut more_out, mut more_err) = (true, true);
            while more_out || more_err {
                let line = tokio::select! {
                    line = out.next_line(), if more_out => { more_out = matches!(line, Ok(Some(_))); line }
                    line = err.next_line(), if more_err => { more_err = matches!(line, Ok(Some(_))); line }
                };
                if let Some(line) = line.ok().flatten().filter(|line| !line.trim().is_empty()) {
                    on_line(line.trim_end());
                    line.trim().clone_into(&mut last);
                }
            }
            child.wait().await
        });
        match followed.await {
            Err(_) => Ok(Err(format!("it took longer than {} minutes", LIMIT.as_secs() / 60))),
            Ok(Err(error)) => Err(refused(&error)),
            Ok(Ok(status)) if !status.success() => Ok(Err(last)),
            Ok(Ok(_)) => self.built(build).await,
        }
    }
}
