//! Packs full files into segments, on a thread of its own: who writes a log goes on meanwhile. A file is removed when
//! all of it is on the disk as blocks; one that was packed half when its process was killed is gone on with, since
//! records have numbers. Readers see each record once, wherever it is.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use crate::names::{self, Kind};
use crate::reverse::ReverseLines;
use crate::segment::{self, Appender};
use crate::{LogError, Record, block};

/// How much of a file becomes one block, in bytes of the file.
const BLOCK: usize = 2 * 1024 * 1024;

/// What is to be packed.
#[derive(Debug)]
enum Order {
    /// The files of this stem that are full.
    Stem(PathBuf, String),
    /// What workers left behind.
    LeftBehind(Vec<Left>),
}

/// Files of a worker that is gone.
#[derive(Debug)]
pub(crate) struct Left {
    dir: PathBuf,
    stem: String,
    /// Whether one of them was being written.
    live: bool,
}

/// A thread that packs. It ends when it is through and nobody holds a handle any more. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sealer {
    orders: mpsc::Sender<Order>,
}

impl Sealer {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (orders, todo) = mpsc::channel();
        thread::Builder::new().name("log-sealer".to_owned()).spawn(move || {
            for order in todo {
                let done = match &order {
                    Order::Stem(dir, stem) => seal(dir, stem),
                    Order::LeftBehind(left) => seal_left_behind(left),
                };
                if let Err(error) = done {
                    complain(&error);
                }
            }
        })?;
        Ok(Self { orders })
    }

    /// Packs what an earlier process left behind in the logs folder `dir`. No worker runs yet; as soon as this returns,
    /// one may: what is left behind is known by then, so that nobody's file is taken away while it is written.
    pub fn left_behind(&self, dir: &Path) {
        match left_behind(dir) {
            // The thread ends only after the last handle.
            Ok(left) => drop(self.orders.send(Order::LeftBehind(left))),
            Err(error) => complain(&error),
        }
    }

    pub(crate) fn stem(&self, dir: &Path, stem: &str) {
        let _ = self.orders.send(Order::Stem(dir.to_owned(), stem.to_owned()));
    }
}

/// Packs the full files of a stem in the folder `dir` of its endpoint.
pub(crate) fn seal(dir: &Path, stem: &str) -> Result<(), LogError> {
    let sealed = || -> io::Result<()> {
        let files = names::of_stem(dir, stem)?;
        for part in files.parts {
            seal_part(dir, stem, part)?;
        }
        Ok(())
    };
    sealed().map_err(|source| LogError::Write { path: dir.join(stem), source })
}

fn seal_part(dir: &Path, stem: &str, part: u64) -> io::Result<()> {
    let path = names::path(dir, stem, Kind::Part(part));
    let segments = names::of_stem(dir, stem)?.segments;
    let packed = segment::last_packed(dir, stem, &segments)?;
    let mut appender = Appender::new(dir, stem, &segments)?;
    let mut lines = Lines { reader: BufReader::with_capacity(256 * 1024, File::open(&path)?), packed };
    loop {
        let records = lines.take(BLOCK)?;
        let Some(first) = records.first().map(|record| record.seq) else { break };
        if let Some(block) = block::pack(&records)? {
            appender.append(first, &block)?;
        }
    }
    appender.sync()?;
    fs::remove_file(&path)
}

/// The records of a file that are not packed yet.
struct Lines {
    reader: BufReader<File>,
    packed: u64,
}

impl Lines {
    /// The records of about so many bytes. Lines that a crash tore are no records.
    fn take(&mut self, bytes: usize) -> io::Result<Vec<Record>> {
        let (mut records, mut line, mut taken) = (Vec::<Record>::new(), Vec::new(), 0);
        while taken < bytes {
            line.clear();
            let read = self.reader.read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            taken += read;
            let Ok(record) = serde_json::from_slice::<Record>(&line) else { continue };
            if record.seq > self.packed {
                records.push(record);
            } else {
                taken -= read;
            }
        }
        Ok(records)
    }
}

fn complain(error: &LogError) {
    tracing::warn!(%error, cause = ?error, "a log could not be packed; it stays as it is, readable");
}

/// What is not packed of workers in a logs folder. Logs of builds are the server's.
pub(crate) fn left_behind(logs: &Path) -> Result<Vec<Left>, LogError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| LogError::Read { path, source }
    };
    let folders = match fs::read_dir(logs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        folders => folders.map_err(read(logs))?,
    };
    let mut left = Vec::new();
    for dir in folders.filter_map(Result::ok).map(|folder| folder.path()).filter(|path| path.is_dir()) {
        for (stem, files) in names::list(&dir).map_err(read(&dir))? {
            if !stem.starts_with("build-") && (files.live || !files.parts.is_empty()) {
                left.push(Left { dir: dir.clone(), stem, live: files.live });
            }
        }
    }
    Ok(left)
}

/// Packs what was left behind.
pub(crate) fn seal_left_behind(left: &[Left]) -> Result<(), LogError> {
    for Left { dir, stem, live } in left {
        if *live {
            retire(dir, stem).map_err(|source| LogError::Read { path: dir.clone(), source })?;
        }
        seal(dir, stem)?;
    }
    Ok(())
}

/// Makes the file that was written last a full one, or removes it where no record is in it. Nobody writes it any more.
pub(crate) fn retire(dir: &Path, stem: &str) -> io::Result<()> {
    let live = names::path(dir, stem, Kind::Live);
    let lines = BufReader::new(File::open(&live)?).split(b'\n');
    for line in lines {
        if let Ok(record) = serde_json::from_slice::<Record>(&line?) {
            return fs::rename(&live, names::path(dir, stem, Kind::Part(record.seq)));
        }
    }
    fs::remove_file(&live)
}

/// The last whole record of a file.
pub(crate) fn last_of(path: &Path) -> io::Result<Option<Record>> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut lines = ReverseLines::new(file, len);
    while let Some(line) = lines.next()? {
        if let Ok(record) = serde_json::from_slice(&line) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}
