//! Reads small files out of an image without running it: what its command is a script of.

use std::io::Read as _;

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptions, DownloadFromContainerOptionsBuilder};
use futures_util::StreamExt as _;
use runyard_domain::image::Fault;

use super::container::Labels;
use super::{Engine, error};

/// The largest file that is read, in bytes.
const LARGEST: usize = 256 * 1024;

/// A container that is never started: it only shows the files of its image. To be [closed](Engine::close_peek).
#[derive(Debug)]
pub struct Peek(String);

impl Engine {
    /// Opens an image for reading.
    pub async fn open_peek(&self, image: &str, labels: &Labels) -> Result<Peek, Fault> {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            // Any command will do, and an image without one has to have one.
            cmd: Some(vec!["true".to_owned()]),
            labels: Some(labels.with(&[("peek", "1".to_owned())])),
            ..ContainerCreateBody::default()
        };
        let made = self.docker().create_container(None::<CreateContainerOptions>, body).await;
        made.map(|made| Peek(made.id)).map_err(|error| error::plain("look into the image", &error))
    }

    /// A file of the image; `None` where there is none, or it is large.
    pub async fn peek(&self, image: &Peek, path: &str) -> Option<String> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut pieces = Box::pin(self.docker().download_from_container(&image.0, Some(options)));
        let mut archive = Vec::new();
        while let Some(piece) = pieces.next().await {
            archive.extend_from_slice(&piece.ok()?);
            // An archive has headers and padding of its own.
            if archive.len() > LARGEST + 8192 {
                return None;
            }
        }
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut entry = archive.entries().ok()?.next()?.ok()?;
        if !entry.header().entry_type().is_file() {
            return None;
        }
        let mut text = Vec::new();
        entry.read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Ends the reading.
    pub async fn close_peek(&self, image: Peek) {
        if let Err(fault) = self.remove(&image.0).await {
            tracing::warn!(fault = fault.sentence(), "a container that was only looked into was not removed");
        }
    }
}
