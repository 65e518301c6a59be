//! The start of a worker by its phases: `image` (a container's image is looked for, and pulled where it is not there),
//! `launch` (its container or process is made), `load` (its code and models are loaded). And how long such phases
//! usually take: the median of starts that came up.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::reason::seconds;
use crate::{Timestamp, WorkerRecord};

/// How many starts of an endpoint are remembered.
const REMEMBERED: usize = 64;

/// From so many starts of a release on, those of other releases say nothing.
const ENOUGH: usize = 3;

/// What was seen of a worker's start beside the times of its record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When its image was there; `None` where it is a process, or the image is not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_at: Option<Timestamp>,
    /// Whether parts of the image had to be pulled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pulled: bool,
}

/// What was there when a worker was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Its image had to be pulled.
    Cold,
    /// Its image, or its environment, was there.
    Prepared,
}

impl Level {
    /// `cold` or `prepared`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Prepared => "prepared",
        }
    }
}

/// A part of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A container's image is looked for, and pulled where it is not there.
    Image,
    /// The container or the process is made.
    Launch,
    /// Code and models are loaded, until it asks for a job.
    Load,
}

impl Step {
    /// `image`, `launch` or `load`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Launch => "launch",
            Self::Load => "load",
        }
    }
}

/// A part of a worker's start in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub step: Step,
    /// Its beginning.
    pub from: Timestamp,
    /// Its end; `None` where it goes on, or where the worker ended in it.
    pub to: Option<Timestamp>,
}

impl WorkerRecord {
    /// What was there when it was started.
    pub fn level(&self) -> Level {
        if self.start.pulled { Level::Cold } else { Level::Prepared }
    }

    /// The parts of its start that have begun, in their order. `has_image` says whether it is a container.
    pub fn start_parts(&self, has_image: bool) -> Vec<Part> {
        let mut parts = Vec::with_capacity(3);
        let mut from = self.created_at;
        let has_image = has_image || self.start.image_at.is_some();
        let ends = [
            (Step::Image, self.start.image_at.or(self.started_at).filter(|_| has_image)),
            (Step::Launch, self.started_at),
            (Step::Load, self.ready_at),
        ];
        for (step, end) in ends.into_iter().skip(usize::from(!has_image)) {
            let to = end.map(|end| end.max(from));
            parts.push(Part { step, from, to });
            let Some(to) = to else { break };
            from = to;
        }
        parts
    }
}

/// How long something usually takes: the median.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usual {
    /// Milliseconds.
    pub ms: i64,
    /// Of how many starts.
    pub starts: u32,
}

impl fmt::Display for Usual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let starts = if self.starts == 1 { "start" } else { "starts" };
        write!(f, "usually {}, of {} {starts}", seconds(self.ms), self.starts)
    }
}

/// A start that came up, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    release: u32,
    level: Level,
    image: Option<i64>,
    launch: i64,
    load: i64,
}

/// The last starts of an endpoint that came up.
#[derive(Debug, Clone, Default)]
pub struct Starts(VecDeque<Measured>);

impl Starts {
    /// Notes a start that came up; one that did not says nothing.
    pub fn note(&mut self, record: &WorkerRecord) {
        let (Some(_), Some(ready)) = (record.started_at, record.ready_at) else { return };
        let parts = record.start_parts(false);
        let took = |step: Step| {
            let part = parts.iter().find(|part| part.step == step);
            part.map(|part| part.to.unwrap_or(ready).since(part.from))
        };
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Measured {
            release: record.release,
            level: record.level(),
            image: took(Step::Image),
            launch: took(Step::Launch).unwrap_or(0),
            load: took(Step::Load).unwrap_or(0),
        });
    }

    /// How long a part usually takes, or with `None` the whole start, at this level: by the starts of this release where
    /// there are enough, else by those of all. `None` where nothing was measured.
    pub fn usual(&self, step: Option<Step>, release: u32, level: Level) -> Option<Usual> {
        let took = |m: &Measured| match step {
            None => Some(m.image.unwrap_or(0) + m.launch + m.load),
            Some(Step::Image) => m.image,
            Some(Step::Launch) => Some(m.launch),
            Some(Step::Load) => Some(m.load),
        };
        // Loading takes as long whatever was there before it.
        let counts = |m: &&Measured| m.level == level || step == Some(Step::Load);
        let of_level: Vec<&Measured> = self.0.iter().filter(counts).collect();
        let own: Vec<&Measured> = of_level.iter().filter(|m| m.release == release).copied().collect();
        let chosen = if own.len() >= ENOUGH { own } else { of_level };
        let mut times: Vec<i64> = chosen.into_iter().filter_map(took).collect();
        times.sort_unstable();
        let ms = *times.get(times.len().checked_sub(1)? / 2)?;
        Some(Usual { ms, starts: times.len() as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::WorkerState;
    use crate::{EndpointId, WorkerId};

    fn record(release: u32, at: [i64; 3], image: Option<(i64, bool)>) -> WorkerRecord {
        WorkerRecord {
            id: WorkerId::new("w"),
            endpoint: EndpointId::new("e"),
            release,
            token_hash: String::new(),
            state: WorkerState::Ready,
            cause: "queue".into(),
            gpus: vec![],
            created_at: Timestamp(at[0]),
            started_at: Some(Timestamp(at[1])),
            ready_at: Some(Timestamp(at[2])),
            start: Seen {
                image_at: image.map(|(at, _)| Timestamp(at)),
                pulled: image.is_some_and(|(_, p)| p),
            },
            ended_at: None,
            pid: None,
            exit: None,
            stop_cause: None,
            sdk: None,
        }
    }

    fn parts(record: &WorkerRecord, has_image: bool) -> Vec<(&'static str, i64, Option<i64>)> {
        let parts = record.start_parts(has_image);
        parts.iter().map(|part| (part.step.word(), part.from.0, part.to.map(|to| to.0))).collect()
    }

    #[test]
    fn a_start_has_its_parts() {
        let process = record(1, [10, 30, 100], None);
        assert_eq!(parts(&process, false), [("launch", 10, Some(30)), ("load", 30, Some(100))]);
        let pulled = record(1, [10, 60, 100], Some((50, true)));
        assert_eq!(
            parts(&pulled, true),
            [("image", 10, Some(50)), ("launch", 50, Some(60)), ("load", 60, Some(100))]
        );
        assert_eq!((process.level(), pulled.level()), (Level::Prepared, Level::Cold));
        let fresh = WorkerRecord { started_at: None, ready_at: None, start: Seen::default(), ..pulled };
        assert_eq!(parts(&fresh, true), [("image", 10, None)]);
        assert_eq!(
            parts(&WorkerRecord { started_at: None, ready_at: None, ..process }, false),
            [("launch", 10, None)]
        );
    }

    #[test]
    fn what_is_usual_is_the_median_of_starts_like_it() {
        let mut starts = Starts::default();
        assert_eq!(starts.usual(None, 1, Level::Prepared), None);
        for load in [100, 300, 200] {
            starts.note(&record(1, [0, 10, 10 + load], None));
        }
        starts.note(&record(2, [0, 10, 5_010], None));
        let usual = |starts: &Starts, step, release| starts.usual(step, release, Level::Prepared);
        assert_eq!(usual(&starts, Some(Step::Load), 1), Some(Usual { ms: 200, starts: 3 }));
        assert_eq!(usual(&starts, None, 1), Some(Usual { ms: 210, starts: 3 }));
        assert_eq!(
            usual(&starts, None, 2),
            Some(Usual { ms: 210, starts: 4 }),
            "one of its own is not enough"
        );
        assert_eq!(usual(&starts, Some(Step::Image), 1), None);
        starts.note(&record(1, [0, 900, 1_000], Some((800, true))));
        assert_eq!(starts.usual(Some(Step::Image), 1, Level::Cold), Some(Usual { ms: 800, starts: 1 }));
        assert_eq!(
            usual(&starts, None, 1).map(|usual| usual.starts),
            Some(3),
            "a pull is another kind of start"
        );
        for _ in 0..200 {
            starts.note(&record(3, [0, 10, 20], None));
        }
        assert_eq!(usual(&starts, None, 3), Some(Usual { ms: 20, starts: 64 }));
        assert_eq!(Usual { ms: 1_200, starts: 1 }.to_string(), "usually 1.2 s, of 1 start");
    }
}
