//! Images: looked for on the engine, pulled once for all who wait, looked at.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Duration;

use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::{CreateImageOptionsBuilder, ListImagesOptions};
use futures_util::StreamExt as _;
use runyard_domain::image::{Facts, Fault, Image};
use runyard_domain::registry::Login;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Engine, credentials, error, platform};

/// How long a pull may go without a word.
const SILENCE: Duration = Duration::from_mins(10);

/// How much of an image has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that came.
    pub done: u64,
    /// Bytes that are known to come.
    pub total: u64,
}

/// An image that the engine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What the engine knows it by.
    pub id: String,
    /// Name and digest in its registry, where it came from one.
    pub digest: Option<String>,
    /// Bytes.
    pub size: u64,
    /// What it says of itself.
    pub facts: Facts,
}

/// Where a pull is.
#[derive(Debug, Clone)]
pub(super) enum Pull {
    Going(Progress),
    Ended(Result<(), Fault>),
}

impl Engine {
    /// The image as a name means it now: from its registry where that answers, else the one that the engine has.
    /// The second value says why the registry was not asked, or what it said, where the engine's own is used.
    pub async fn resolve(
        &self,
        name: &str,
        login: Option<&Login>,
        on_progress: impl FnMut(Progress),
    ) -> Result<(Found, Option<Fault>), Fault> {
        let fixed = name.contains("@sha256:") || name.starts_with("sha256:");
        let have = self.image(name).await?;
        if fixed && let Some(found) = have {
            return Ok((found, None));
        }
        match (self.pull(name, login, on_progress).await, have) {
            (Ok(()), _) => {
                let message = "it was pulled and is not there".to_owned();
                let missing = || Fault::ImageNotFound { image: name.to_owned(), message };
                Ok((self.image(name).await?.ok_or_else(missing)?, None))
            }
            (Err(fault), Some(found)) => Ok((found, Some(fault))),
            (Err(fault), None) => Err(fault),
        }
    }

    /// The image of a release: looked for by its id, else pulled by its digest.
    pub async fn fetch(
        &self,
        image: &Image,
        login: Option<&Login>,
        on_progress: impl FnMut(Progress),
    ) -> Result<Found, Fault> {
        if let Some(found) = self.image(&image.id).await? {
            return Ok(found);
        }
        let gone =
            |message: &str| Fault::ImageNotFound { image: image.name.clone(), message: message.to_owned() };
        let Some(digest) = &image.digest else {
            return Err(gone("it was built or loaded here and has been removed; deploy it again"));
        };
        self.pull(digest, login, on_progress).await?;
        self.image(digest).await?.ok_or_else(|| gone("it was pulled and is not there"))
    }

    /// The image of a name or an id, where the engine has it.
    pub async fn image(&self, name: &str) -> Result<Option<Found>, Fault> {
        match self.docker().inspect_image(name).await {
            Ok(seen) => Ok(Some(found(name, seen))),
            Err(error) if matches!(error::status(&error), Some(400 | 404)) => Ok(None),
            Err(error) => Err(error::plain("look at the image", &error)),
        }
    }

    /// Pulls an image, or waits for who does.
    async fn pull(
        &self,
        name: &str,
        login: Option<&Login>,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<(), Fault> {
        let mut pull = self.pull_of(name, login);
        loop {
            let now = pull.borrow_and_update().clone();
            match now {
                Pull::Going(progress) => on_progress(progress),
                Pull::Ended(result) => return result,
            }
            if pull.changed().await.is_err() {
                let message = "the pull was given up".to_owned();
                return Err(Fault::EngineRefused { operation: format!("pull {name}"), message });
            }
        }
    }

    /// The pull of this image with this login that is under way, or a new one. It goes on when nobody waits any more: the next who
    /// wants the image finds it further.
    fn pull_of(&self, name: &str, login: Option<&Login>) -> watch::Receiver<Pull> {
        let which = (name.to_owned(), login.cloned());
        let mut pulls = self.inner.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pull) = pulls.get(&which) {
            return pull.clone();
        }
        let (sender, receiver) = watch::channel(Pull::Going(Progress::default()));
        pulls.insert(which.clone(), receiver.clone());
        let engine = self.clone();
        tokio::spawn(async move {
            let (name, login) = &which;
            let result = engine.pull_now(name, login.as_ref(), &sender).await;
            let mut pulls = engine.inner.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            pulls.remove(&which);
            sender.send_replace(Pull::Ended(result));
        });
        receiver
    }

    async fn pull_now(
        &self,
        name: &str,
        login: Option<&Login>,
        progress: &watch::Sender<Pull>,
    ) -> Result<(), Fault> {
        let name = with_tag(name);
        // Where it is not known what was there before, nothing counts as brought.
        let before = self.ids().await.ok();
        self.bring(&name, login, progress).await?;
        let (Some(pulled), Some(before)) = (self.inner.pulled.get(), before) else { return Ok(()) };
        if let Some(found) = self.image(&name).await?
            && !before.contains(&found.id)
            && let Err(error) = pulled.note(self.address(), &found.id)
        {
            tracing::warn!(%error, image = name, "an image that was pulled could not be noted; it will not be pruned");
        }
        Ok(())
    }

    /// All images that are there.
    async fn ids(&self) -> Result<HashSet<String>, Fault> {
        let listed = self.docker().list_images(None::<ListImagesOptions>).await;
        let listed = listed.map_err(|error| error::plain("list images", &error))?;
        Ok(listed.into_iter().map(|image| image.id).collect())
    }

    async fn bring(
        &self,
        name: &str,
        login: Option<&Login>,
        progress: &watch::Sender<Pull>,
    ) -> Result<(), Fault> {
        let options = CreateImageOptionsBuilder::default().from_image(name).build();
        let known = credentials::of(name, login);
        let mut lines = Box::pin(self.docker().create_image(Some(options), None, known));
        let mut layers = Layers::default();
        loop {
            match timeout(SILENCE, lines.next()).await {
                Ok(Some(Ok(line))) => {
                    if layers.note(&line) {
                        progress.send_replace(Pull::Going(layers.sum()));
                    }
                }
                Ok(Some(Err(error))) => {
                    return Err(error::pulling(name, &self.about().platform, login, &error));
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    let message = format!("nothing came for {} minutes", SILENCE.as_secs() / 60);
                    return Err(Fault::RegistryUnreachable { image: name.to_owned(), message });
                }
            }
        }
    }
}

/// Without a tag an engine pulls every one.
fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

fn found(name: &str, seen: ImageInspect) -> Found {
    let config = seen.config.unwrap_or_default();
    let digests = seen.repo_digests.unwrap_or_default();
    let repository = repository(name);
    let own = digests.iter().find(|digest| digest.split('@').next() == Some(repository));
    let command = config.entrypoint.into_iter().flatten().chain(config.cmd.into_iter().flatten());
    let env = config.env.into_iter().flatten();
    Found {
        id: seen.id.unwrap_or_default(),
        digest: own.or(digests.first()).cloned(),
        size: seen.size.unwrap_or(0).unsigned_abs(),
        facts: Facts {
            platform: platform(&seen.os.unwrap_or_default(), &seen.architecture.unwrap_or_default()),
            command: command.collect(),
            folder: config.working_dir.unwrap_or_default(),
            env: env
                .filter_map(|pair| {
                    pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
                })
                .collect(),
        },
    }
}

/// A name less its tag or digest.
fn repository(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// The layers of a pull under way.
#[derive(Debug, Default)]
struct Layers(std::collections::HashMap<String, Progress>);

impl Layers {
    /// Notes a line; says whether bytes came.
    fn note(&mut self, line: &CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (&line.id, &line.status) else { return false };
        let layer = self.0.entry(id.clone()).or_default();
        let before = *layer;
        let detail = line.progress_detail.as_ref();
        let bytes = |value: Option<i64>| value.and_then(|n| u64::try_from(n).ok());
        match status.as_str() {
            "Downloading" => {
                layer.done = bytes(detail.and_then(|d| d.current)).unwrap_or(layer.done);
                layer.total = bytes(detail.and_then(|d| d.total)).unwrap_or(layer.total).max(layer.done);
            }
            "Download complete" | "Pull complete" => layer.done = layer.total,
            _ => {}
        }
        *layer != before
    }

    fn sum(&self) -> Progress {
        let add = |sum: Progress, one: &Progress| Progress {
            done: sum.done + one.done,
            total: sum.total + one.total,
        };
        self.0.values().fold(Progress::default(), add)
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn names_without_a_tag_get_one() {
        assert_eq!(with_tag("a/b"), "a/b:latest");
        assert_eq!(with_tag("host:5000/b"), "host:5000/b:latest");
        assert_eq!(with_tag("a/b:v1"), "a/b:v1");
        assert_eq!(with_tag("a/b@sha256:00"), "a/b@sha256:00");
        assert_eq!(repository("host:5000/b:v1"), "host:5000/b");
        assert_eq!(repository("host:5000/b"), "host:5000/b");
        assert_eq!(repository("b@sha256:00"), "b");
    }

    #[test]
    fn layers_are_summed() {
        let line = |id: &str, status: &str, done, total| CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(done), total: Some(total) }),
            ..CreateImageInfo::default()
        };
        let mut layers = Layers::default();
        assert!(layers.note(&line("a", "Downloading", 5, 10)));
        assert!(layers.note(&line("b", "Downloading", 1, 30)));
        assert!(!layers.note(&line("a", "Extracting", 1, 10)));
        assert!(layers.note(&line("a", "Download complete", 0, 0)));
        assert_eq!(layers.sum(), Progress { done: 11, total: 40 });
    }
}
