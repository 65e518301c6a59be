//! Goes with one container from the look for its image to its removal, and tells its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use runyard_domain::Exit;
use runyard_domain::image::{self, Fault, Needs};
use runyard_logs::{Level, Source};
use runyard_runtime::docker::{End, Engine, Making, Output, Piece, Progress};
use runyard_runtime::{ImageSpec, StartPhase, Stop, WorkerSpec};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::doors::Door;
use crate::agent::Agent;
use crate::inside::Inside;
use crate::leftovers;
use crate::supervise::{DRAIN, Pen, finish};
use crate::worker::{Worker, locked};

/// How long an engine that went away has to come back before its containers count as lost.
const BACK: Duration = Duration::from_mins(1);

/// How often it is looked for meanwhile, and how often a removal that failed is tried again.
const LOOK: Duration = Duration::from_millis(500);

/// How long an engine that is asked whether it is there may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How often the bytes of a pull are told.
const TELL: Duration = Duration::from_millis(500);

/// Codes of shells and of the engine's init for a command that cannot be run.
const NOT_RUN: [i32; 2] = [126, 127];

/// One container's supervisor.
struct Life {
    agent: Arc<Agent>,
    worker: Arc<Worker>,
    name: String,
    /// The image's name, for people.
    image: String,
    /// Where the engine listens.
    address: String,
    /// Whether there may be a container.
    made: bool,
    pen: Pen,
    orders: watch::Receiver<Option<Stop>>,
}

/// A container that was started.
struct Running {
    engine: Engine,
    output: Option<Output>,
}

/// Why there is none.
enum Early {
    /// It was told to end before.
    Told,
    /// It could not be had.
    Fault(Fault),
}

impl From<Fault> for Early {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Stays with the worker until its end is told.
pub async fn supervise(
    agent: Arc<Agent>,
    worker: Arc<Worker>,
    spec: WorkerSpec,
    orders: watch::Receiver<Option<Stop>>,
) {
    let (Some(image), Some(inside)) = (&spec.image, &worker.container) else { return };
    let pen = Pen::new(Arc::clone(&agent), Arc::clone(&worker));
    let mut life = Life {
        agent: Arc::clone(&agent),
        worker: Arc::clone(&worker),
        name: super::name_of(&worker.id),
        image: image.image.name.clone(),
        address: image.image.engine.clone(),
        made: false,
        pen,
        orders,
    };
    let exit = match life.begin(inside, &spec, image).await {
        Ok(running) => life.follow(running).await,
        Err(Early::Told) => ended(None, Some(9), false),
        Err(Early::Fault(fault)) => Exit { fault: Some(Box::new(fault)), ..ended(None, None, false) },
    };
    life.remove().await;
    worker.set_dead();
    inside.set_phase(None);
    finish(&agent, &worker, exit, 0).await;
}

fn ended(code: Option<i32>, signal: Option<i32>, out_of_memory: bool) -> Exit {
    Exit { code, signal, out_of_memory, last_lines: Vec::new(), fault: None }
}

impl Life {
    async fn begin(
        &mut self,
        inside: &Inside,
        spec: &WorkerSpec,
        image: &ImageSpec,
    ) -> Result<Running, Early> {
        let mut orders = self.orders.clone();
        let (door, id) = tokio::select! {
            biased;
            _ = orders.wait_for(Option::is_some) => return Err(Early::Told),
            ready = self.fetch(inside, image) => ready?,
        };
        // From here on it is not left half done: what was made is removed under its name.
        self.made = true;
        inside.set_image(self.agent.now());
        self.step(inside, StartPhase::Creating);
        let output = self.make(inside, &door, spec, image, &id).await?;
        let pid = door.engine.look(&self.name).await?.map_or(0, |seen| seen.pid);
        inside.set_pid(pid);
        inside.set_phase(None);
        self.agent.events.progress(&self.worker.id);
        self.note(Level::Info, &format!("started a container of {}", image.image.name));
        Ok(Running { engine: door.engine, output: Some(output) })
    }

    /// Has the engine, its door and the image ready.
    async fn fetch(&self, inside: &Inside, image: &ImageSpec) -> Result<(Door, String), Fault> {
        let door = self.agent.engines.door(&self.agent, &image.image.engine).await?;
        let mut told: Option<Instant> = None;
        let on_progress = |Progress { done, total }| {
            if told.is_none_or(|at| at.elapsed() >= TELL) {
                told = Some(Instant::now());
                self.step(inside, StartPhase::Pulling { done, total });
            }
        };
        let found = door.engine.fetch(&image.image, image.login.as_ref(), on_progress).await?;
        let needs = Needs {
            image: &image.image.name,
            platform: &door.engine.about().platform,
            other_command: image.image.entrypoint.is_some() || image.image.command.is_some(),
            gpus: 0,
            driver: None,
        };
        image::check(&found.facts, &needs)?;
        Ok((door, found.id))
    }

    async fn make(
        &self,
        inside: &Inside,
        door: &Door,
        spec: &WorkerSpec,
        image: &ImageSpec,
        id: &str,
    ) -> Result<Output, Fault> {
        let env = self.environment(spec, door);
        let making = Making {
            name: &self.name,
            whose: [
                ("worker", self.worker.id.to_string()),
                ("endpoint", self.worker.endpoint.to_string()),
                ("release", self.worker.release.to_string()),
            ],
            image: id,
            spec: image,
            shared: &spec.volumes,
            env: &env,
            network: &door.bridge.name,
            labels: self.agent.engines.labels(),
        };
        loop {
            let container = door.engine.create(&making).await?;
            let output = door.engine.attach(&container).await?;
            self.step(inside, StartPhase::Starting);
            match door.engine.start(&container, &image.image.name).await {
                Ok(()) => return Ok(output),
                // Without an init it starts; this happens once for an engine.
                Err((_, true)) => door.engine.remove(&container).await?,
                Err((fault, false)) => return Err(fault),
            }
        }
    }

    /// The spec's environment as it is right inside: our address is another one there.
    fn environment(&self, spec: &WorkerSpec, door: &Door) -> BTreeMap<String, String> {
        let inside = |value: &String| match value.strip_prefix(&self.agent.worker_url) {
            Some(rest) => format!("{}{rest}", door.url),
            None => value.clone(),
        };
        let mut env: BTreeMap<String, String> =
            spec.env.iter().map(|(name, value)| (name.clone(), inside(value))).collect();
        env.insert("PYTHONUNBUFFERED".to_owned(), "1".to_owned());
        // Its processes are seen from outside: an agent that finds them ends them.
        env.insert(leftovers::MARK.to_owned(), leftovers::mark(&self.worker.id, &self.agent.data_name));
        env
    }

    /// Goes with a container that runs until it has ended.
    async fn follow(&mut self, mut running: Running) -> Exit {
        loop {
            let fault = match self.listen(&mut running).await {
                Ok(code) => {
                    let seen = running.engine.look(&self.name).await.ok().flatten().unwrap_or_default();
                    self.drain(&mut running).await;
                    let exit = self.exit(code, &seen);
                    if exit.out_of_memory || !self.engine_ends().await {
                        return exit;
                    }
                    let message = "it was told to end, and ended its containers".to_owned();
                    return Exit { fault: Some(Box::new(Fault::EngineAway { message })), ..exit };
                }
                Err(fault) => fault,
            };
            self.note(Level::Warn, &fault.sentence());
            match self.find_again().await {
                Some((engine, End { running: true, .. })) => {
                    self.note(Level::Info, "the container engine is back; output in between may be missing");
                    running.output = engine.attach(&self.name).await.ok();
                    running.engine = engine;
                }
                Some((_, end)) => {
                    let message = "it was restarted, and its containers with it".to_owned();
                    let exit = self.exit(end.code.unwrap_or_default(), &end);
                    return Exit { fault: Some(Box::new(Fault::EngineAway { message })), ..exit };
                }
                None => return Exit { fault: Some(Box::new(fault)), ..ended(None, None, false) },
            }
        }
    }

    /// Writes what it prints and does what is ordered, until it ends.
    async fn listen(&mut self, running: &mut Running) -> Result<i32, Fault> {
        let engine = running.engine.clone();
        let name = self.name.clone();
        let end = engine.wait(&name);
        tokio::pin!(end);
        loop {
            let pause = self.pen.pause();
            tokio::select! {
                biased;
                Ok(()) = self.orders.changed() => {
                    let order = *self.orders.borrow_and_update();
                    if let Some(how) = order {
                        engine.end(&name, how).await;
                    }
                }
                ended = &mut end => return ended,
                piece = next(&mut running.output), if running.output.is_some() => self.write(piece, running),
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => self.pen.tick(),
            }
        }
    }

    fn write(&mut self, piece: Option<Piece>, running: &mut Running) {
        match piece {
            Some(Piece::Out(bytes)) => self.pen.write(Source::Stdout, &bytes),
            Some(Piece::Err(bytes)) => self.pen.write(Source::Stderr, &bytes),
            None => running.output = None,
        }
    }

    /// Reads what is still on its way after the end.
    async fn drain(&mut self, running: &mut Running) {
        let deadline = Instant::now() + DRAIN;
        while running.output.is_some() {
            match timeout_at(deadline, next(&mut running.output)).await {
                Ok(piece) => self.write(piece, running),
                Err(_) => return,
            }
        }
    }

    /// Whether an engine is on its way out, where nobody told the container to end: such an engine takes no new
    /// connections, and ends its containers before itself.
    async fn engine_ends(&self) -> bool {
        let told = self.orders.borrow().is_some();
        !told && matches!(timeout(ANSWER, Engine::connect(&self.address)).await, Ok(Err(_)))
    }

    /// Looks for the container on an engine that went away. `None` where that does not come back.
    async fn find_again(&self) -> Option<(Engine, End)> {
        let deadline = Instant::now() + BACK;
        while Instant::now() < deadline && *self.orders.borrow() != Some(Stop::Kill) {
            if let Ok(engine) = Engine::connect(&self.address).await
                && let Ok(seen) = engine.look(&self.name).await
            {
                return Some((engine, seen.unwrap_or_default()));
            }
            sleep(LOOK).await;
        }
        None
    }

    fn exit(&self, code: i32, seen: &End) -> Exit {
        let last = locked(&self.worker.log).last_lines().pop();
        exit_of(code, seen.out_of_memory, last.as_deref(), &self.image)
    }

    /// Removes the container. Where that cannot be done now, it is tried on until it is: until then the container is
    /// somebody else's memory and GPU.
    async fn remove(&self) {
        if !self.made || remove(&self.address, &self.name).await {
            return;
        }
        let (address, name) = (self.address.clone(), self.name.clone());
        tokio::spawn(async move {
            while !remove(&address, &name).await {
                sleep(LOOK * 10).await;
            }
        });
    }

    fn step(&self, inside: &Inside, phase: StartPhase) {
        inside.set_phase(Some(phase));
        self.agent.events.progress(&self.worker.id);
    }

    fn note(&self, level: Level, text: &str) {
        let noted = locked(&self.worker.log).note(self.agent.now(), Source::System, level, None, text);
        if let Err(error) = noted {
            tracing::warn!(worker.id = %self.worker.id, %error, "A worker's log cannot be written");
        }
    }
}

async fn remove(address: &str, name: &str) -> bool {
    let removing = async { Engine::connect(address).await?.remove(name).await };
    match removing.await {
        Ok(()) => true,
        Err(fault) => {
            tracing::debug!(container = name, fault = fault.sentence(), "A container was not removed");
            false
        }
    }
}

async fn next(output: &mut Option<Output>) -> Option<Piece> {
    output.as_mut()?.next().await
}

/// An engine's exit code as an exit: what a signal ended has 128 and its number.
fn exit_of(code: i32, out_of_memory: bool, last_line: Option<&str>, image: &str) -> Exit {
    let signal = (129..=159).contains(&code).then_some(code - 128);
    let mut exit = ended(signal.is_none().then_some(code), signal, out_of_memory && code != 0);
    // The engine's init found no program, and says so in its own words.
    let said = last_line.filter(|line| line.contains("FATAL tini") || line.starts_with("ERROR (catatonit"));
    if let (true, Some(said)) = (NOT_RUN.contains(&code), said) {
        let message = said.rsplit("] ").next().unwrap_or(said).to_owned();
        exit.fault = Some(Box::new(Fault::CommandNotFound { image: image.to_owned(), message }));
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        assert_eq!(exit_of(0, false, None, "i").code, Some(0));
        assert_eq!(exit_of(3, false, None, "i").sentence(), "exited with code 3");
        assert_eq!(exit_of(139, false, None, "i").sentence(), "was killed by signal 11 (SIGSEGV)");
        assert_eq!(exit_of(255, false, None, "i").code, Some(255));
        assert!(exit_of(137, true, None, "i").out_of_memory);
        // A child ran out of memory, and its parent went on.
        assert!(!exit_of(0, true, None, "i").out_of_memory);
    }

    #[test]
    fn a_missing_program_is_told_by_the_init() {
        let said = "[FATAL tini (7)] exec pythn failed: No such file or directory";
        let exit = exit_of(127, false, Some(said), "i");
        let says = exit.fault.map(|fault| fault.sentence()).unwrap_or_default();
        assert!(says.ends_with("exec pythn failed: No such file or directory"), "{says}");
        assert_eq!(exit_of(127, false, Some("sh: x: not found"), "i").fault, None);
    }
}
