//! Workers: how they start, what they do with jobs, how they end. Most are in order; the others die, hang, stall,
//! forget, answer late or twice, ignore what they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runyard_domain::{EndpointId, Exit, JobId, WorkerId};
use runyard_engine::Ask;
use runyard_runtime::{Whose, WorkerSpec};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::agent::{Agent, exit};
use crate::chance::{Chance, Signal};

/// Who a worker is to the agent's listener.
#[derive(Debug, Clone)]
pub struct Me {
    pub id: WorkerId,
    pub token: String,
    /// Whether it was asked to end.
    pub term: Arc<Signal<bool>>,
}

/// How workers are that start from now on.
#[derive(Debug, Clone)]
pub struct Nature {
    /// One of so many does something bad at each occasion; 0: none.
    pub trouble: u64,
    /// Releases that do not start, by what becomes of them.
    pub broken: BTreeMap<(EndpointId, u32), Start>,
    /// Releases whose workers die of jobs.
    pub deadly: BTreeSet<(EndpointId, u32)>,
    /// Endpoints whose jobs are short.
    pub brief: BTreeSet<EndpointId>,
}

/// How a worker comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Well,
    Dies(i32),
    Hangs,
    /// It says that it is not fit, and ends.
    Unfit,
}

/// What becomes of an order to start one.
pub struct Fate {
    pub takes: Duration,
    pub fails: Option<Whose>,
    /// It started, and that is not heard.
    pub unheard: bool,
}

/// How one worker is.
#[derive(Debug, Clone)]
pub struct Character {
    start: Start,
    trouble: u64,
    deadly: bool,
    on_term: OnTerm,
    slots: usize,
    heeds_stops: bool,
    brief: bool,
    sdk: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnTerm {
    Finishes,
    DiesAtOnce,
    Ignores,
}

impl Nature {
    pub fn peaceful() -> Self {
        Self { trouble: 0, broken: BTreeMap::new(), deadly: BTreeSet::new(), brief: BTreeSet::new() }
    }

    fn trouble(&self, chance: &mut Chance, rare: u64) -> bool {
        self.trouble > 0 && chance.one_in(self.trouble * rare)
    }

    pub fn start(&self, chance: &mut Chance) -> Fate {
        let slow = self.trouble(chance, 3);
        let whose = [Whose::Ours, Whose::Engine, Whose::Image, Whose::User];
        let fails = if self.trouble(chance, 2) { chance.pick(&whose).copied() } else { None };
        Fate {
            takes: if slow { chance.pause(0, 12_000) } else { chance.pause(1, 60) },
            fails,
            unheard: self.trouble(chance, 4),
        }
    }

    pub fn of(&self, spec: &WorkerSpec, chance: &mut Chance) -> Character {
        let release = (spec.endpoint.clone(), spec.release);
        let start = match self.broken.get(&release) {
            Some(start) => *start,
            None if self.trouble(chance, 2) => match chance.below(5) {
                0 => Start::Dies(0),
                1 => Start::Hangs,
                2 => Start::Unfit,
                _ => Start::Dies(1),
            },
            None => Start::Well,
        };
        let on_term = match chance.below(4) {
            0 if self.trouble > 0 => OnTerm::Ignores,
            1 => OnTerm::DiesAtOnce,
            _ => OnTerm::Finishes,
        };
        Character {
            start,
            trouble: self.trouble,
            deadly: self.deadly.contains(&release),
            on_term,
            slots: 1 + chance.below(3).saturating_sub(1) as usize,
            heeds_stops: !chance.one_in(4),
            brief: self.brief.contains(&spec.endpoint),
            sdk: chance
                .pick(&[None, Some("1.6.2"), Some("1.7.12"), Some("1.12.0"), Some("2.0.0")])
                .copied()
                .flatten(),
        }
    }
}

/// What a worker's parts share.
struct Inside {
    agent: Arc<Agent>,
    me: Me,
    jobs: Mutex<BTreeMap<JobId, AbortHandle>>,
    stopped: Signal<bool>,
    die: mpsc::UnboundedSender<Exit>,
    character: Character,
}

/// A worker's whole life.
pub async fn live(agent: Arc<Agent>, me: Me, character: Character, mut chance: Chance) -> Exit {
    let on_term = character.on_term;
    let term = Arc::clone(&me.term);
    let told = async move { term.until().await };
    tokio::pin!(told);
    let import = async {
        sleep(chance.pause(50, 7_000)).await;
        match character.start {
            Start::Well => {}
            Start::Dies(code) => return Some(exit(Some(code), None)),
            Start::Hangs => std::future::pending().await,
            Start::Unfit => {
                agent.unfit(&me).await;
                return Some(exit(Some(1), None));
            }
        }
        None
    };
    // Python that has not come to the SDK yet dies of the signal.
    tokio::select! {
        biased;
        () = &mut told, if on_term != OnTerm::Ignores => return exit(None, Some(15)),
        died = import => if let Some(exit) = died { return exit },
    }
    let (die, mut deaths) = mpsc::unbounded_channel();
    let stopped = Signal::new(false);
    let inside = Arc::new(Inside { agent, me, jobs: Mutex::default(), stopped, die, character });
    let (pings, stops) = (ping(Arc::clone(&inside)), heed(Arc::clone(&inside)));
    let mut helpers = JoinSet::new();
    helpers.spawn(pings);
    helpers.spawn(stops);
    let serve = serve(&inside, chance);
    tokio::select! {
        biased;
        Some(exit) = deaths.recv() => exit,
        () = &mut told, if on_term == OnTerm::DiesAtOnce => exit(None, Some(15)),
        // Its connections stay as they are.
        () = inside.stopped.until() => std::future::pending().await,
        exit = serve => exit,
    }
}

/// The take loop.
async fn serve(inside: &Arc<Inside>, mut chance: Chance) -> Exit {
    let character = &inside.character;
    let trouble =
        |chance: &mut Chance, rare: u64| character.trouble > 0 && chance.one_in(character.trouble * rare);
    let mut running = JoinSet::new();
    // What is beyond them in a list comes later.
    let seats = Arc::new(Semaphore::new(character.slots));
    let polls = !trouble(&mut chance, 6);
    loop {
        while running.try_join_next().is_some() {}
        if inside.me.term.get() && character.on_term == OnTerm::Finishes {
            while running.join_next().await.is_some() {}
            return exit(Some(0), None);
        }
        if running.len() >= character.slots || !polls && chance.one_in(2) {
            let _ = running.join_next().await;
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        let busy = !inside.jobs.lock().unwrap().is_empty();
        let hold = Duration::from_secs(1 + chance.below(20));
        let max = character.slots - running.len();
        let sdk = character.sdk.map(str::to_owned);
        let ask = Ask { max, hold, in_progress: busy, prefetches: busy && sdk.is_none(), sdk };
        let term = &inside.me.term;
        let heeds = character.on_term == OnTerm::Finishes && !term.get();
        let jobs = tokio::select! {
            biased;
            // Told to end, it gives up its connection.
            () = term.until(), if heeds && chance.one_in(2) => continue,
            jobs = inside.agent.poll(&inside.me, ask) => jobs,
        };
        if jobs.is_empty() {
            if trouble(&mut chance, 20) {
                return exit(Some(0), None);
            }
            sleep(Duration::from_millis(20)).await;
        }
        let jobs_of = &inside.jobs;
        for job in jobs {
            let (inside, chance) = (Arc::clone(inside), chance.fork());
            let (seats, of) = (Arc::clone(&seats), job.clone());
            let task = running.spawn(async move {
                let _seat = seats.acquire().await;
                handle(inside, of, chance).await;
            });
            jobs_of.lock().unwrap().insert(job, task);
        }
    }
}

/// One job.
async fn handle(inside: Arc<Inside>, job: JobId, mut chance: Chance) {
    let forget = |inside: &Inside| drop(inside.jobs.lock().unwrap().remove(&job));
    let (agent, me) = (&inside.agent, &inside.me);
    let trouble = inside.character.trouble;
    let what = if trouble > 0 { chance.below(trouble * 8) } else { u64::MAX };
    if inside.character.deadly || what == 0 {
        sleep(chance.pause(1, 3_000)).await;
        let how = if chance.one_in(2) { exit(Some(1), None) } else { exit(None, Some(11)) };
        let _ = inside.die.send(how);
        return;
    }
    match what {
        // Too late, or nearly so.
        1 => sleep(chance.pause(4_000, 90_000)).await,
        2 => {
            inside.stopped.set(true);
            return std::future::pending().await;
        }
        3 => {
            sleep(chance.pause(1, 2_000)).await;
            return forget(&inside);
        }
        _ => {}
    }
    sleep(chance.pause(1, if inside.character.brief { 150 } else { 6_000 })).await;
    if chance.one_in(5) {
        inside.still_runs().await;
        agent.post(me, &job, false, false).await;
    }
    inside.still_runs().await;
    let fails = chance.one_in(8);
    agent.post(me, &job, true, fails).await;
    if what == 4 {
        agent.post(me, &job, true, !fails).await;
    }
    forget(&inside);
    if what == 5 {
        // `refresh_worker`
        agent.refresh(&me.id);
    }
}

impl Inside {
    /// Goes on, unless the process was stopped.
    async fn still_runs(&self) {
        if self.stopped.get() {
            std::future::pending::<()>().await;
        }
    }
}

async fn ping(inside: Arc<Inside>) {
    loop {
        sleep(Duration::from_secs(10)).await;
        inside.still_runs().await;
        let jobs = inside.jobs.lock().unwrap().keys().cloned().collect();
        inside.agent.ping(&inside.me, jobs, inside.character.sdk).await;
    }
}

async fn heed(inside: Arc<Inside>) {
    if !inside.character.heeds_stops {
        return;
    }
    loop {
        let orders = inside.agent.stop_orders(&inside.me).await;
        inside.still_runs().await;
        for job in orders {
            let task = inside.jobs.lock().unwrap().remove(&job);
            if let Some(task) = task {
                task.abort();
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}
