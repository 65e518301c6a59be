//! What an engine keeps on its disk: images with their layers, what of it is ours, and what data directories that are
//! gone have left there. Only looked at and, image by image, removed; what goes is decided elsewhere.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::time::SystemTime;

use bollard::models::{ContainerSummary, ImageSummary};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptions, ListNetworksOptions, RemoveImageOptions,
};
use futures_util::StreamExt as _;
use runyard_domain::EndpointId;
use runyard_domain::image::Fault;

use super::container::{DATA, Labels, PATH, PEEK};
use super::notes::Pulled;
use super::{Engine, error};

/// What our builds are called: `runyard/ENDPOINT:NUMBER`.
pub const BUILT: &str = "runyard/";

/// The name of an image that a release builds.
pub fn name_of_build(endpoint: &EndpointId, release: u32) -> String {
    format!("{BUILT}{}:{release}", endpoint.as_str().to_lowercase())
}

/// So many images are looked at layer by layer; of more only the sizes are known.
const MOST: usize = 1000;

/// How many of them at once.
const AT_ONCE: usize = 8;

/// Everything of interest on an engine.
#[derive(Debug, Clone, Default)]
pub struct Stock {
    /// All its images, also those that are not ours: they share layers.
    pub images: Vec<Stored>,
    /// Things of data directories that are not there any more.
    pub gone: Vec<Gone>,
}

/// An image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// What the engine knows it by.
    pub id: String,
    /// Its tags and digests.
    pub names: Vec<String>,
    /// Where it came from.
    pub origin: Origin,
    /// A container is made of it, whoever's that is.
    pub used: bool,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
}

/// Where an image came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// Somebody else's.
    #[default]
    Other,
    /// A deploy on this data directory built it.
    Built,
    /// A pull of this data directory brought it, or found it again, at this time.
    Pulled(SystemTime),
}

/// A layer of an image; images with the same layers below and in its place share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Equal for shared ones.
    pub key: u64,
    /// On the disk.
    pub bytes: u64,
}

/// What a data directory that is gone has left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gone {
    /// Its name on labels.
    pub data: String,
    /// Where it was.
    pub path: String,
    /// The ids of its images.
    pub images: Vec<String>,
    /// How many containers.
    pub containers: usize,
    /// How many networks.
    pub networks: usize,
}

impl Engine {
    /// What is there.
    pub async fn stock(&self, labels: &Labels, pulled: &Pulled) -> Result<Stock, Fault> {
        let listed = self.docker().list_images(None::<ListImagesOptions>).await;
        let mut listed = listed.map_err(|error| error::plain("list images", &error))?;
        let all = ListContainersOptionsBuilder::default().all(true).build();
        let containers = self.docker().list_containers(Some(all)).await;
        let containers = containers.map_err(|error| error::plain("list containers", &error))?;
        let networks = self.docker().list_networks(None::<ListNetworksOptions>).await;
        let networks = networks.map_err(|error| error::plain("list networks", &error))?;
        let mut gone = GoneBy::default();
        for image in &listed {
            gone.image(image);
        }
        for container in &containers {
            gone.count(container.labels.iter().flatten(), |gone| &mut gone.containers);
        }
        for network in &networks {
            gone.count(network.labels.iter().flatten(), |gone| &mut gone.networks);
        }
        let used: HashSet<&str> = containers.iter().filter_map(|one| one.image_id.as_deref()).collect();
        // Ours first, so that it is others' layers that stay unknown.
        listed.sort_by_key(|image| self.origin(image, labels, pulled) == Origin::Other);
        let images: Vec<_> = listed
            .into_iter()
            .enumerate()
            .map(|(at, image)| {
                let (origin, used) = (self.origin(&image, labels, pulled), used.contains(image.id.as_str()));
                let engine = self.clone();
                async move { Stored { origin, used, ..engine.stored(&image, at < MOST).await } }
            })
            .collect();
        let images = futures_util::stream::iter(images).buffered(AT_ONCE).collect().await;
        Ok(Stock { images, gone: gone.left(labels) })
    }

    fn origin(&self, image: &ImageSummary, labels: &Labels, pulled: &Pulled) -> Origin {
        // Who builds on an image of ours inherits the label, and gives it another name.
        let is_built = image.labels.get(DATA) == Some(&labels.data)
            && image.repo_tags.iter().any(|tag| tag.starts_with(BUILT));
        if is_built {
            return Origin::Built;
        }
        pulled.at(self.address(), &image.id).map_or(Origin::Other, Origin::Pulled)
    }

    async fn stored(&self, image: &ImageSummary, closely: bool) -> Stored {
        let whole = u64::try_from(image.size).unwrap_or(0);
        let layers = if closely { self.layers(&image.id).await } else { None };
        let names = image.repo_tags.iter().chain(&image.repo_digests).filter(|name| !name.contains("<none>"));
        Stored {
            id: image.id.clone(),
            names: names.cloned().collect(),
            layers: layers.unwrap_or_else(|| vec![Layer { key: key(0, &image.id), bytes: whole }]),
            ..Stored::default()
        }
    }

    /// The layers by what made them: the same steps at the same time are the same layers.
    async fn layers(&self, image: &str) -> Option<Vec<Layer>> {
        let steps = self.docker().image_history(image).await.ok()?;
        let mut below = 0;
        let layers = steps.iter().rev().map(|step| {
            below = key(below, &(step.created, &step.created_by, step.size));
            Layer { key: below, bytes: u64::try_from(step.size).unwrap_or(0) }
        });
        Some(layers.collect())
    }

    /// Takes an image's names away, and it goes with the last one. Says whether it is gone: one that a container is
    /// made of stays.
    pub async fn remove_image(&self, image: &Stored) -> Result<bool, Fault> {
        // Tags first: the digests of a repository go with its last tag.
        for name in image.names.iter().chain([&image.id]) {
            // It may mean another image by now.
            if self.image(name).await?.is_none_or(|found| found.id != image.id) {
                continue;
            }
            let removed = self.docker().remove_image(name, None::<RemoveImageOptions>, None).await;
            match removed.map_err(|error| (error::status(&error), error)) {
                Ok(_) | Err((Some(404), _)) => {}
                Err((Some(409), _)) => return Ok(false),
                Err((_, error)) => return Err(error::plain("remove the image", &error)),
            }
        }
        Ok(true)
    }

    /// Removes containers that a server which is gone had made to look into images; `before` in seconds since the
    /// epoch.
    pub async fn sweep_peeks(&self, labels: &Labels, before: i64) -> Result<usize, Fault> {
        let mut filter = labels.filter();
        filter.entry("label".to_owned()).or_default().push(PEEK.to_owned());
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
        let listed = self.docker().list_containers(Some(options)).await;
        let listed = listed.map_err(|error| error::plain("list containers", &error))?;
        let is_left = |one: &ContainerSummary| one.created.is_some_and(|created| created < before);
        let left: Vec<String> = listed.into_iter().filter(is_left).filter_map(|one| one.id).collect();
        for id in &left {
            self.remove(id).await?;
        }
        Ok(left.len())
    }
}

fn key(below: u64, of: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (below, of).hash(&mut hasher);
    hasher.finish()
}

/// What is found with labels of other data directories.
#[derive(Default)]
struct GoneBy(BTreeMap<String, Gone>);

impl GoneBy {
    fn of<'a>(&mut self, labels: impl Iterator<Item = (&'a String, &'a String)>) -> Option<&mut Gone> {
        let (mut data, mut path) = (None, None);
        for (name, value) in labels {
            match name.as_str() {
                DATA => data = Some(value),
                PATH => path = Some(value),
                _ => {}
            }
        }
        let (data, path) = (data?, path?);
        let gone = Gone { data: data.clone(), path: path.clone(), ..Gone::default() };
        Some(self.0.entry(data.clone()).or_insert(gone))
    }

    fn count<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a String, &'a String)>,
        which: impl Fn(&mut Gone) -> &mut usize,
    ) {
        if let Some(gone) = self.of(labels) {
            *which(gone) += 1;
        }
    }

    fn image(&mut self, image: &ImageSummary) {
        let id = image.id.clone();
        if image.repo_tags.iter().any(|tag| tag.starts_with(BUILT))
            && let Some(gone) = self.of(image.labels.iter())
        {
            gone.images.push(id);
        }
    }

    /// Those whose folder is not there.
    fn left(self, own: &Labels) -> Vec<Gone> {
        let is_gone = |one: &Gone| one.data != own.data && !Path::new(&one.path).exists();
        self.0.into_values().filter(is_gone).collect()
    }
}

/// Bytes of each image in this order, every layer counted once: with the first that has it. The layers of `others`
/// are theirs.
pub fn share<'a>(others: impl IntoIterator<Item = &'a Stored>, images: &[&Stored]) -> Vec<u64> {
    let mut seen: HashSet<u64> =
        others.into_iter().flat_map(|image| image.layers.iter().map(|layer| layer.key)).collect();
    let mut own = |image: &&Stored| {
        image.layers.iter().filter(|layer| seen.insert(layer.key)).map(|layer| layer.bytes).sum()
    };
    images.iter().map(&mut own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(layers: &[(u64, u64)]) -> Stored {
        let layers = layers.iter().map(|&(key, bytes)| Layer { key, bytes }).collect();
        Stored { layers, ..Stored::default() }
    }

    #[test]
    fn shared_layers_count_once() {
        let base = image(&[(1, 100)]);
        let (a, b) = (image(&[(1, 100), (2, 20), (3, 1)]), image(&[(1, 100), (2, 20), (4, 2)]));
        assert_eq!(share([&base], &[&a, &b]), [21, 2], "the base is somebody else's");
        assert_eq!(share([], &[&a, &b]), [121, 2]);
    }

    #[test]
    fn directories_that_are_gone_are_told() {
        let labels = |data: &str, path: &str| {
            [(DATA.to_owned(), data.to_owned()), (PATH.to_owned(), path.to_owned())].into_iter().collect()
        };
        let mut by = GoneBy::default();
        for (data, path) in [("a", "/nowhere/a"), ("a", "/nowhere/a"), ("b", "/"), ("own", "/nowhere/own")] {
            let labels: BTreeMap<String, String> = labels(data, path);
            by.count(labels.iter(), |gone| &mut gone.containers);
        }
        let own = Labels { data: "own".to_owned(), path: "/nowhere/own".to_owned() };
        let left = by.left(&own);
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].path.as_str(), left[0].containers), ("/nowhere/a", 2));
    }
}
