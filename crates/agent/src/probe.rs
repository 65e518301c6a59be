//! Doors to the parsers of outside bytes, for the fuzz targets (`crates/fuzz`). No part of the interface.

use std::io;
use std::path::Path;

use futures_util::FutureExt as _;

use crate::{post, route, spool};

/// What a worker's path is about: its token, its wish in words, and the path as it goes on to the server.
pub fn route(path: &str) -> Option<(String, String, String)> {
    route::parse(path).map(|route| (route.token, format!("{:?}", route.wish), route.path))
}

/// Whether a body of `job-done` only tells progress.
pub fn is_progress(body: &[u8]) -> bool {
    post::is_progress(body)
}

/// Opens the spool in a folder: path and body of each post that waits, in the order in which they go. With
/// `finish`, each is marked as answered.
pub fn spool(dir: &Path, finish: bool) -> io::Result<Vec<(String, Vec<u8>)>> {
    let spool = spool::Spool::open(dir)?;
    let mut posts = Vec::new();
    for worker in spool.workers() {
        if !finish {
            posts.extend(spool.oldest(&worker)?.map(|(_, post)| (post.path, post.body.to_vec())));
            continue;
        }
        while let Some((number, post)) = spool.oldest(&worker)? {
            posts.push((post.path, post.body.to_vec()));
            spool.finish(number).now_or_never().unwrap_or(Err(io::ErrorKind::WouldBlock.into()))?;
        }
    }
    Ok(posts)
}
