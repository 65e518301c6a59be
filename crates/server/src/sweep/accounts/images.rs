//! What container engines keep: images that deploys built or pulled, the cache of builds, and what data directories
//! that were deleted have left. Images of kept releases stay, as their code does; what a container is made of stays,
//! and what has a name that we did not give it. The engine's cache is shared by all who build there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runyard_domain::image::Fault;
use runyard_runtime::docker::{BUILT, Gone, Origin, Pulled, Stored, share};
use tokio::runtime::Handle;

use super::code::STRANGERS;
use crate::sweep::account::{Account, Fate, Look, Thing, YOUNG};
use crate::sweep::engines::Shelf;

/// Images that are ours.
pub(in crate::sweep) struct Images {
    pub(in crate::sweep) shelves: Arc<Vec<Shelf>>,
    pub(in crate::sweep) runtime: Handle,
    pub(in crate::sweep) pulled: Pulled,
}

impl Account for Images {
    fn kind(&self) -> &'static str {
        "images"
    }

    fn unknown(&self) -> Option<String> {
        unknown(&self.shelves, |shelf| shelf.stock.as_ref().err())
    }

    fn things(&self, look: &Look<'_>) -> Vec<Thing> {
        self.shelves.iter().flat_map(|shelf| images(shelf, look)).collect()
    }

    fn remove(&self, thing: &Thing) -> io::Result<bool> {
        let (address, id) = place(&thing.path);
        let Some(shelf) = self.shelves.iter().find(|shelf| shelf.address == address) else {
            return Ok(false);
        };
        let images = shelf.stock.as_ref().map_or(&[][..], |stock| &stock.images);
        let (Some(engine), Some(image)) = (&shelf.engine, images.iter().find(|image| image.id == id)) else {
            return Ok(false);
        };
        let gone = self.runtime.block_on(engine.remove_image(image)).map_err(|fault| other(&fault))?;
        if gone {
            self.pulled.forget(address, id);
        }
        Ok(gone)
    }
}

/// Ours on one engine, judged; the layers that they share count with one that stays.
fn images(shelf: &Shelf, look: &Look<'_>) -> Vec<Thing> {
    let Ok(stock) = &shelf.stock else { return Vec::new() };
    let (others, ours): (Vec<&Stored>, Vec<&Stored>) =
        stock.images.iter().partition(|image| image.origin == Origin::Other);
    let mut judged: Vec<(&Stored, Fate)> = ours.into_iter().map(|image| (image, fate(look, image))).collect();
    judged.sort_by_key(|(_, fate)| matches!(fate, Fate::Goes(_)));
    let in_order: Vec<&Stored> = judged.iter().map(|(image, _)| *image).collect();
    let bytes = share(others, &in_order);
    judged
        .into_iter()
        .zip(bytes)
        .map(|((image, fate), bytes)| Thing {
            name: called(image),
            path: PathBuf::from(format!("{}#{}", shelf.address, image.id)),
            bytes: Some(bytes),
            fate,
        })
        .collect()
}

fn fate(look: &Look<'_>, image: &Stored) -> Fate {
    let known = look.known;
    let by_name = || image.names.iter().find_map(|name| known.built.get(name));
    if let Some(why) = known.images.get(&image.id).or_else(by_name) {
        return Fate::Stays(why.clone());
    }
    let stays = |why: &str| Fate::Stays(why.to_owned());
    match image.origin {
        _ if known.strangers => stays(STRANGERS),
        _ if image.used => stays("a container is made of it"),
        Origin::Pulled(at) if !look.is_past(at, YOUNG) => stays("it is new"),
        _ => match foreign_name(image) {
            Some(name) => Fate::Stays(format!("somebody calls it {name}")),
            None => Fate::Goes("no release that is kept needs it"),
        },
    }
}

/// A name that it did not get from us: of what was built, every other one; of what was pulled, one of a repository
/// that it was not pulled from.
fn foreign_name(image: &Stored) -> Option<&String> {
    let mut tags = image.names.iter().filter(|name| !name.contains('@'));
    let homes = || image.names.iter().filter_map(|name| name.split_once('@')).map(|(home, _)| home);
    match image.origin {
        Origin::Built => tags.find(|tag| !tag.starts_with(BUILT)),
        _ => tags.find(|tag| !homes().any(|home| tag.rsplit_once(':').is_some_and(|(of, _)| of == home))),
    }
}

fn called(image: &Stored) -> String {
    let first = image.names.first().map_or(image.id.as_str(), String::as_str);
    let short = first
        .split_once("@sha256:")
        .map(|(name, digest)| format!("{name}@{}", &digest[..12.min(digest.len())]));
    short.unwrap_or_else(|| first.to_owned())
}

/// Engine and image of a thing.
fn place(path: &Path) -> (&str, &str) {
    path.to_str().and_then(|text| text.rsplit_once('#')).unwrap_or_default()
}

/// The engines' caches of builds.
pub(in crate::sweep) struct BuildCaches {
    pub(in crate::sweep) shelves: Arc<Vec<Shelf>>,
    pub(in crate::sweep) runtime: Handle,
    /// So many bytes may stay; 0: all.
    pub(in crate::sweep) most: u64,
    /// Now, in seconds since the epoch.
    pub(in crate::sweep) now_s: i64,
}

impl Account for BuildCaches {
    fn kind(&self) -> &'static str {
        "build cache"
    }

    fn unknown(&self) -> Option<String> {
        unknown(&self.shelves, |shelf| shelf.cache.as_ref().err())
    }

    fn things(&self, _look: &Look<'_>) -> Vec<Thing> {
        let mut things = Vec::new();
        for shelf in self.shelves.iter() {
            let Ok(cache) = &shelf.cache else { continue };
            let all = cache.bytes();
            let gone = self.excess(shelf).map_or(0, |excess| excess.bytes);
            let why = match self.most {
                0 => "shared by all who build on this engine; bounded where build_cache_mib is set",
                _ => "makes builds fast; bounded by build_cache_mib",
            };
            let thing = |name: &str, bytes, fate| Thing {
                name: name.to_owned(),
                path: PathBuf::from(&shelf.address),
                bytes: Some(bytes),
                fate,
            };
            if all > gone {
                things.push(thing("steps of builds", all - gone, Fate::Stays(why.to_owned())));
            }
            if gone > 0 {
                let fate = Fate::Goes("it is larger than build_cache_mib allows");
                things.push(thing("the longest unused", gone, fate));
            }
        }
        things
    }

    fn remove(&self, thing: &Thing) -> io::Result<bool> {
        let shelf = self.shelves.iter().find(|shelf| Path::new(&shelf.address) == thing.path);
        let Some((shelf, engine)) = shelf.and_then(|shelf| Some((shelf, shelf.engine.as_ref()?))) else {
            return Ok(false);
        };
        let Some(excess) = self.excess(shelf) else { return Ok(false) };
        // A second less: times are cut to whole ones.
        let unused_s = u64::try_from(self.now_s - excess.since - 1).unwrap_or(0);
        self.runtime.block_on(engine.trim_build_cache(unused_s)).map_err(|fault| other(&fault))?;
        Ok(true)
    }
}

impl BuildCaches {
    fn excess(&self, shelf: &Shelf) -> Option<runyard_runtime::docker::Excess> {
        if self.most == 0 {
            return None;
        }
        shelf.cache.as_ref().ok()?.excess(self.most)
    }
}

/// What is left of data directories that were deleted. It is nobody's to remove but their owner's: the folder may
/// come back.
pub(in crate::sweep) struct Deleted {
    pub(in crate::sweep) shelves: Arc<Vec<Shelf>>,
}

impl Account for Deleted {
    fn kind(&self) -> &'static str {
        "deleted"
    }

    fn things(&self, _look: &Look<'_>) -> Vec<Thing> {
        let stocks = self.shelves.iter().filter_map(|shelf| shelf.stock.as_ref().ok());
        let of = |stock: &runyard_runtime::docker::Stock, gone: &Gone| {
            let (own, others): (Vec<&Stored>, Vec<&Stored>) =
                stock.images.iter().partition(|image| gone.images.contains(&image.id));
            let why = format!(
                "its data directory was deleted and left {} images, {} containers, {} networks: docker ps -a \
                 --filter label=runyard.data={}",
                gone.images.len(),
                gone.containers,
                gone.networks,
                gone.data
            );
            Thing {
                name: gone.path.clone(),
                path: PathBuf::new(),
                bytes: Some(share(others, &own).iter().sum()),
                fate: Fate::Stays(why),
            }
        };
        stocks.flat_map(|stock| stock.gone.iter().map(move |gone| of(stock, gone))).collect()
    }
}

/// The engines that did not say what they have.
fn unknown<'a>(shelves: &'a [Shelf], of: impl Fn(&'a Shelf) -> Option<&'a String>) -> Option<String> {
    let said: Vec<String> =
        shelves.iter().filter_map(|shelf| of(shelf).map(|why| shelf.unknown(why))).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn other(fault: &Fault) -> io::Error {
    io::Error::other(fault.sentence())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;
    use std::time::{Duration, UNIX_EPOCH};

    use runyard_domain::Timestamp;
    use runyard_runtime::docker::{BuildCache, Layer, Part, Stock};

    use super::*;
    use crate::sweep::Known;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1000 * DAY;

    fn known() -> Known {
        Known {
            wall: Timestamp(NOW * 1000),
            images: HashMap::from([("kept".to_owned(), "a #2 serves".to_owned())]),
            built: HashMap::from([("runyard/a:3".to_owned(), "a #3 is being deployed".to_owned())]),
            ..Known::default()
        }
    }

    fn image(id: &str, origin: Origin, names: &[&str], layers: &[u64]) -> Stored {
        let layers = layers.iter().map(|&key| Layer { key, bytes: key }).collect();
        Stored {
            id: id.into(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            origin,
            used: false,
            layers,
        }
    }

    fn pulled(days: i64) -> Origin {
        Origin::Pulled(UNIX_EPOCH + Duration::from_secs((NOW - days * DAY) as u64))
    }

    fn shelf(images: Vec<Stored>) -> Shelf {
        Shelf {
            address: "unix:///e".into(),
            engine: None,
            stock: Ok(Stock { images, gone: Vec::new() }),
            cache: Ok(BuildCache::default()),
        }
    }

    fn fates(known: &Known, images_there: Vec<Stored>) -> HashMap<String, (u64, String)> {
        let shelf = shelf(images_there);
        let things = images(&shelf, &Look::new(known, true));
        let word = |thing: &Thing| match &thing.fate {
            Fate::Stays(why) => format!("stays: {why}"),
            Fate::Goes(_) => "goes".to_owned(),
        };
        things.iter().map(|t| (place(&t.path).1.to_owned(), (t.bytes.unwrap(), word(t)))).collect()
    }

    #[test]
    fn images_of_kept_releases_stay_and_others_go() {
        let home = "reg/w@sha256:00";
        let found = fates(
            &known(),
            vec![
                image("base", Origin::Other, &["python:3"], &[100]),
                image("old", Origin::Built, &["runyard/a:1"], &[100, 20, 1]),
                image("kept", Origin::Built, &["runyard/a:2"], &[100, 20, 2]),
                image("new", Origin::Built, &["runyard/a:3"], &[100, 4]),
                Stored { used: true, ..image("used", Origin::Built, &["runyard/b:1"], &[100, 8]) },
                image("named", Origin::Built, &["runyard/c:1", "mine:1"], &[100, 16]),
                image("pulled", pulled(3), &["reg/w:1", home], &[200]),
                image("young", pulled(0), &["reg/v:1", "reg/v@sha256:00"], &[300]),
                image("taken", pulled(3), &["reg/u:1", "reg/u@sha256:00", "mine:2"], &[400]),
            ],
        );
        let says = |id: &str| (found[id].0, found[id].1.as_str());
        assert_eq!(found.len(), 8, "the base is somebody else's");
        assert_eq!(says("old"), (1, "goes"), "what it shares with one that stays is not freed");
        assert_eq!(says("kept"), (22, "stays: a #2 serves"));
        assert_eq!(says("new"), (4, "stays: a #3 is being deployed"));
        assert_eq!(says("used"), (8, "stays: a container is made of it"));
        assert_eq!(says("named"), (16, "stays: somebody calls it mine:1"));
        assert_eq!(says("pulled"), (200, "goes"));
        assert_eq!(says("young"), (300, "stays: it is new"));
        assert_eq!(says("taken"), (400, "stays: somebody calls it mine:2"));
    }

    #[test]
    fn nothing_goes_while_a_worker_of_an_unknown_release_runs() {
        let known = Known { strangers: true, ..known() };
        let found = fates(&known, vec![image("old", Origin::Built, &["runyard/a:1"], &[1])]);
        assert!(found["old"].1.starts_with("stays"), "{found:?}");
    }

    #[tokio::test]
    async fn the_cache_is_cut_only_where_it_is_bounded() {
        let parts = vec![
            Part { bytes: 6, used: NOW - 2 * DAY, busy: false },
            Part { bytes: 3, used: NOW - DAY, busy: false },
        ];
        let shelf = Shelf { cache: Ok(BuildCache { parts }), ..shelf(Vec::new()) };
        let shelves = Arc::new(vec![shelf]);
        let sizes = |most| {
            let (shelves, runtime) = (shelves.clone(), Handle::current());
            let account = BuildCaches { shelves, runtime, most, now_s: NOW };
            let things = account.things(&Look::new(&known(), true));
            let goes = |thing: &Thing| matches!(thing.fate, Fate::Goes(_));
            things.iter().map(|thing| (thing.bytes.unwrap(), goes(thing))).collect::<Vec<_>>()
        };
        assert_eq!(sizes(0), [(9, false)]);
        assert_eq!(sizes(9), [(9, false)]);
        assert_eq!(sizes(5), [(3, false), (6, true)]);
    }

    #[test]
    fn an_engine_that_is_away_is_unknown() {
        let away = Shelf { stock: Err("it is away".into()), ..shelf(Vec::new()) };
        let found = unknown(&[shelf(Vec::new()), away], |shelf| shelf.stock.as_ref().err());
        assert!(found.is_some_and(|why| why.starts_with("unix:///e: it is away")));
    }
}
