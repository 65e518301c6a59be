//! Builds an image from a folder with a Dockerfile. The folder goes to the engine as it is: what an ignore file
//! hides was left out before.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::body_try_stream;
use bollard::query_parameters::BuildImageOptionsBuilder;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use runyard_domain::image::Fault;
use runyard_domain::registry::Login;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::container::Labels;
use super::{Engine, Found, credentials, error};

/// How long a build may take, as on RunPod.
pub(super) const LIMIT: Duration = Duration::from_mins(30);

/// How much of the folder is on its way at once.
const CHUNK: usize = 256 * 1024;

/// An image to build.
#[derive(Clone, Default)]
pub struct Build {
    /// The folder.
    pub folder: PathBuf,
    /// The Dockerfile, below the folder.
    pub dockerfile: String,
    /// The name that the image gets.
    pub tag: String,
    /// Values for its `ARG`s.
    pub args: BTreeMap<String, String>,
    /// The stage to build; empty for the last one.
    pub target: String,
    /// The platform to build for; empty for the engine's.
    pub platform: String,
    /// Secrets of the build by their ids; only BuildKit has them.
    pub secrets: BTreeMap<String, String>,
    /// What registries of base images are shown.
    pub logins: Vec<Login>,
}

impl Engine {
    /// Builds an image, telling every line of the build. The outer error is the engine's, the inner one the build's,
    /// in its own words.
    pub async fn build(
        &self,
        build: &Build,
        labels: &Labels,
        mut on_line: impl FnMut(&str),
    ) -> Result<Result<Found, String>, Fault> {
        let options = BuildImageOptionsBuilder::default()
            .dockerfile(&build.dockerfile)
            .t(&build.tag)
            .rm(true)
            .forcerm(true)
            .buildargs(&build.args.clone().into_iter().collect::<HashMap<_, _>>())
            .labels(&labels.with(&[]))
            .target(&build.target)
            .platform(&build.platform)
            .build();
        let logins = Some(credentials::of_build(&build.logins)).filter(|all| !all.is_empty());
        // The answer begins when the engine has the folder.
        let docker = self.docker().clone().with_timeout(LIMIT);
        let mut lines =
            Box::pin(docker.build_image(options, logins, Some(body_try_stream(archive(&build.folder)))));
        let followed = timeout(LIMIT, async {
            while let Some(line) = lines.next().await {
                match line {
                    Ok(line) => {
                        let said = line.stream.or(line.status).unwrap_or_default();
                        // What steps write to stderr comes in red.
                        let plain = said.replace("\u{1b}[91m", "").replace("\u{1b}[0m", "");
                        plain
                            .lines()
                            .map(str::trim_end)
                            .filter(|text| !text.is_empty())
                            .for_each(&mut on_line);
                    }
                    Err(error @ bollard::errors::Error::DockerStreamError { .. }) => {
                        return Ok(Err(error::words(&error)));
                    }
                    // A Dockerfile that cannot be read is refused with 400.
                    Err(error) if error::status(&error).is_some() => return Ok(Err(error::words(&error))),
                    Err(error) => return Err(error::plain("build the image", &error)),
                }
            }
            Ok(Ok(()))
        });
        let Ok(built) = followed.await else {
            return Ok(Err(format!("it took longer than {} minutes", LIMIT.as_secs() / 60)));
        };
        match built? {
            Err(message) => Ok(Err(message)),
            Ok(()) => self.built(build).await,
        }
    }

    /// The image that a build has made.
    pub(super) async fn built(&self, build: &Build) -> Result<Result<Found, String>, Fault> {
        Ok(match self.image(&build.tag).await? {
            Some(found) => Ok(Found { digest: None, ..found }),
            None => Err("nothing was said of a failure, and there is no image".to_owned()),
        })
    }
}

/// A folder as a tar archive, packed on a thread of its own while it is sent.
fn archive(folder: &Path) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut archive = tar::Builder::new(Chunks { sender: sender.clone(), buffer: Vec::new() });
        archive.follow_symlinks(false);
        archive.mode(tar::HeaderMode::Deterministic);
        let packed = archive.append_dir_all("", &folder).and_then(|()| archive.into_inner()?.flush());
        if let Err(error) = packed {
            // Nobody listens where the engine has refused meanwhile.
            let _ = sender.blocking_send(Err(error));
        }
    });
    stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
}

/// A writer that sends what is written, piece by piece.
struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        if piece.is_empty() {
            return Ok(());
        }
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the engine took no more");
        self.sender.blocking_send(Ok(piece)).map_err(gone)
    }
}
