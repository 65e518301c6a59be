//! What happens to a house: a time of trouble, in which people and machines do what they do at their worst, and a
//! time of peace, in which everything that was accepted has to come to its end and nothing may stay behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runyard_domain::release::Launch;
use runyard_domain::{
    Endpoint, EndpointId, Env as _, Gpus, JobId, Phase, Release, ReleaseState, Scaler, Settings, WaitReason,
};
use runyard_engine::NewJob;
use runyard_fleet::{Expected, TestRequest};
use runyard_store::{Blobs, Filter, MemoryStore};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::agent::Agent;
use crate::chance::{Chance, SimEnv};
use crate::server::{House, Server};
use crate::witness::Witness;
use crate::worker::{Nature, Start};

/// How much happens in one simulation.
const STEPS: u64 = 25;
/// By when in peace everything must have come to rest. The longest pause between starts is five minutes.
const PEACE: Duration = Duration::from_hours(2);
/// How often peace is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// One simulation.
pub struct Story {
    house: House,
    env: Arc<SimEnv>,
    chance: Chance,
    server: Option<Server>,
    endpoints: Vec<EndpointId>,
    jobs: Vec<(JobId, EndpointId)>,
    deploys: Vec<JoinHandle<()>>,
    made: u32,
    /// How often in a row a job was said to be taken or served at once.
    at_once: BTreeMap<JobId, u32>,
}

impl Story {
    pub async fn begin(seed: u64, blobs: Blobs) -> Self {
        let mut chance = Chance::new(seed);
        let env = Arc::new(SimEnv::new(seed));
        let witness = Arc::new(Witness::new());
        let agent = Agent::begin(env.clone(), witness.clone(), chance.fork());
        let gpus = chance.below(4) as u32;
        let slow_disk_ms = 1 + if chance.one_in(3) { chance.below(60) } else { chance.below(4) };
        let model = Arc::new(Mutex::new(MemoryStore::new()));
        let house = House { model, witness, agent, blobs, gpus, slow_disk_ms };
        let server = Some(Server::start(&house).await);
        let (endpoints, jobs, deploys) = (vec![], vec![], vec![]);
        let mut story =
            Self { house, env, chance, server, endpoints, jobs, deploys, made: 0, at_once: BTreeMap::new() };
        story.house.agent.nature.lock().unwrap().trouble = 2 + story.chance.below(6);
        for _ in 0..=story.chance.below(3) {
            story.make_endpoint().await;
        }
        story
    }

    /// The whole simulation; the number stands for all that was committed.
    pub async fn tell(mut self) -> u64 {
        for _ in 0..STEPS {
            self.step().await;
            let most = if self.chance.one_in(3) { 25_000 } else { 1_500 };
            sleep(self.chance.pause(1, most)).await;
            self.check();
        }
        self.make_peace().await;
        self.wait_for_rest().await;
        for (job, endpoint) in &self.jobs {
            if let Some(job) = self.server().engine.job(job).unwrap() {
                assert!(job.is_done(), "{job:?}");
            } else {
                assert!(!self.endpoints.contains(endpoint), "{job} is lost");
            }
        }
        self.house.witness.history()
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    async fn step(&mut self) {
        if self.server.is_none() {
            if self.chance.one_in(2) {
                self.server = Some(Server::start(&self.house).await);
            }
            return;
        }
        match self.chance.below(40) {
            0..14 => self.submit().await,
            14..17 => self.change_jobs().await,
            17..20 => self.scale().await,
            20..24 => self.deploy().await,
            24 => self.break_release(),
            25 => self.roll_back().await,
            26 => self.house.agent.kill(),
            27 | 28 => self.stop_server(false).await,
            29 => self.stop_server(true).await,
            30 => self.env.jump(self.chance.below(120_000) as i64 - 60_000),
            31 => drop(self.restart().await),
            32 => self.replace_endpoint().await,
            33 => self.purge().await,
            _ => {}
        }
    }

    fn settings(&mut self) -> Settings {
        let chance = &mut self.chance;
        let workers_max = 1 + chance.below(4) as u32;
        let by_count = chance.one_in(3);
        Settings {
            workers_min: u32::from(chance.one_in(3)),
            workers_max,
            idle_timeout_s: 1 + chance.below(20) as u32,
            scaler: if by_count {
                Scaler::RequestCount(1 + chance.below(4) as u32)
            } else {
                Scaler::QueueDelay(0.5 + chance.below(8) as f64)
            },
            execution_timeout_ms: 5_000 + chance.below(60_000) as i64,
            ttl_ms: if chance.one_in(5) { 60_000 } else { 86_400_000 },
            start_timeout_s: 10 + chance.below(50) as u32,
            requeues: chance.below(3) as u32,
            retention_ms: 7 * 86_400_000,
            gpus: (chance.below(u64::from(self.house.gpus) + 1) as u32).into(),
            concurrency: 1 + chance.below(2) as u32,
            ..Settings::default()
        }
    }

    async fn make_endpoint(&mut self) {
        self.made += 1;
        let id = EndpointId::new(format!("ep{}", self.made));
        if self.chance.one_in(3) {
            self.nature(|nature| {
                nature.brief.insert(id.clone());
            });
        }
        let settings = self.settings();
        let mut endpoint = Endpoint::new(id.clone(), id.to_string(), self.env.now(), settings);
        endpoint.serving = Some(1);
        endpoint.next_release = 2;
        let release = self.release(&id, 1, endpoint.settings.gpus.clone(), ReleaseState::Ready);
        self.server().engine.put_release(release).await.unwrap();
        self.server().engine.put_endpoint(endpoint).await.unwrap();
        self.endpoints.push(id);
    }

    fn release(&self, endpoint: &EndpointId, number: u32, gpus: Gpus, state: ReleaseState) -> Release {
        let launch = Launch {
            command: vec!["/usr/bin/python3".into(), "handler.py".into()],
            code_dir: "/code".into(),
            in_place: false,
            read_dirs: vec![],
            stands_for: None,
            image: None,
        };
        Release {
            endpoint: endpoint.clone(),
            number,
            created_at: self.env.now(),
            created_by: "local".into(),
            state,
            handler: "handler.py".into(),
            bundle: String::new(),
            environment: String::new(),
            python: "3.11.7".into(),
            python_wish: runyard_domain::PythonWish::default(),
            launch: Some(launch),
            env: BTreeMap::new(),
            secure_env: BTreeMap::new(),
            env_read: vec![],
            gpus,
            given: None,
            note: None,
            commit: None,
            took_ms: None,
        }
    }

    fn some_endpoint(&mut self) -> Arc<Endpoint> {
        let id = self.chance.pick(&self.endpoints).unwrap().clone();
        self.server().engine.endpoint_by_id(&id).unwrap()
    }

    async fn submit(&mut self) {
        let endpoint = self.some_endpoint();
        let is_brief = self.house.agent.nature.lock().unwrap().brief.contains(&endpoint.id);
        let most = if is_brief { 25 } else { 6 };
        for _ in 0..=self.chance.below(most) {
            let low_priority = self.chance.one_in(8);
            let limit = self.chance.below(120_000) as i64;
            let execution_timeout_ms = self.chance.one_in(6).then_some(limit.max(5_000));
            let new = NewJob { low_priority, execution_timeout_ms, ..NewJob::new(endpoint.clone(), "{}") };
            let accepted = self.server().engine.submit(&self.server().caller, new).await.unwrap();
            self.jobs.push((accepted.job.id, endpoint.id.clone()));
        }
    }

    async fn change_jobs(&mut self) {
        let Some((job, _)) = self.chance.pick(&self.jobs).cloned() else { return };
        let (what, server) = (self.chance.below(4), self.server());
        // Refused where the job has ended, or has not.
        let _ = match what {
            0 => server.engine.retry(&server.caller, &job).await,
            1 => server.engine.set_ttl(&server.caller, &job, 90_000).await,
            _ => server.engine.cancel(&server.caller, &job).await,
        };
    }

    async fn purge(&mut self) {
        let endpoint = self.some_endpoint();
        self.server().engine.purge(&self.server().caller, &endpoint.id).await.unwrap();
    }

    async fn scale(&mut self) {
        let endpoint = self.some_endpoint();
        let mut settings = self.settings();
        if self.chance.one_in(6) {
            (settings.workers_min, settings.workers_max) = (0, 0);
        }
        let changed = Endpoint { settings, ..(*endpoint).clone() };
        self.server().engine.put_endpoint(changed).await.unwrap();
    }

    async fn restart(&mut self) -> usize {
        let endpoint = self.some_endpoint();
        self.server().fleet.restart(&endpoint.id).await
    }

    async fn replace_endpoint(&mut self) {
        let gone = self.some_endpoint();
        self.server().engine.drop_endpoint(&gone.id).await.unwrap();
        self.server().fleet.nudge(&gone.id);
        self.endpoints.retain(|id| *id != gone.id);
        self.make_endpoint().await;
    }

    /// A new release, good or bad, tested and put in the old one's place.
    async fn deploy(&mut self) {
        let mut endpoint = (*self.some_endpoint()).clone();
        let number = endpoint.next_release;
        endpoint.next_release += 1;
        let settings = endpoint.settings.clone();
        let id = endpoint.id.clone();
        let release = self.release(&id, number, settings.gpus.clone(), ReleaseState::Testing);
        let broken = [Start::Dies(1), Start::Dies(0), Start::Hangs, Start::Unfit];
        if self.chance.one_in(4) {
            let how = *self.chance.pick(&broken).unwrap();
            self.nature(|nature| {
                nature.broken.insert((id.clone(), number), how);
            });
        }
        let (engine, fleet) = (self.server().engine.clone(), self.server().fleet.clone());
        let (caller, canary) = (self.server().caller.clone(), self.chance.one_in(3));
        engine.put_endpoint(endpoint).await.unwrap();
        engine.put_release(release.clone()).await.unwrap();
        self.deploys.push(tokio::spawn(async move {
            let test = TestRequest {
                name: "t".into(),
                input: "{}".into(),
                timeout_ms: None,
                expected: Expected::default(),
            };
            let tested = fleet.test_release(&caller, &id, number, &settings, &[test]).await;
            let state = if tested.is_ok() {
                ReleaseState::Ready
            } else {
                let message = "no".to_owned();
                let reason = runyard_domain::FailReason::TestFailed { test: "t".into(), message };
                ReleaseState::Failed { reason }
            };
            if engine.endpoint_by_id(&id).is_none() {
                return;
            }
            let release = Release { state, ..release };
            let _ = engine.put_release(release).await;
            fleet.release_changed(&id, number);
            // Refused where the rollout before it still replaces workers.
            if tested.is_ok() && (!canary || fleet.canary(&id, number, 20, |_| ()).await.is_err()) {
                let _ = fleet.promote(&id, number).await;
            }
        }));
    }

    /// A release that was fine does not start any more, or dies of its jobs.
    fn break_release(&mut self) {
        let endpoint = self.some_endpoint();
        let release = (endpoint.id.clone(), endpoint.serving.unwrap());
        let (deadly, code) = (self.chance.one_in(2), self.chance.below(2) as i32);
        self.nature(|nature| {
            if deadly {
                nature.deadly.insert(release);
            } else {
                nature.broken.insert(release, Start::Dies(code));
            }
        });
    }

    async fn roll_back(&mut self) {
        let endpoint = self.some_endpoint();
        let number = 1 + self.chance.below(u64::from(endpoint.next_release - 1)) as u32;
        let bad = endpoint.serving.unwrap();
        let at_once = self.chance.one_in(2) && bad != number;
        let fleet = &self.server().fleet;
        // Refused where it never passed its tests.
        let _ = if at_once {
            fleet.go_back(&endpoint.id, number, bad, "it was wished").await
        } else {
            fleet.promote(&endpoint.id, number).await
        };
    }

    async fn stop_server(&mut self, in_order: bool) {
        self.deploys.drain(..).for_each(|deploy| deploy.abort());
        if in_order {
            self.server().engine.close_submissions();
            self.server().fleet.close();
            sleep(self.chance.pause(0, 8_000)).await;
            self.server().fleet.end_busy().await;
        }
        if let Some(server) = self.server.take() {
            server.kill(&self.house);
        }
    }

    fn nature(&self, change: impl FnOnce(&mut Nature)) {
        change(&mut self.house.agent.nature.lock().unwrap());
    }

    /// What memory, store and fleet say fits together, and every job that waits has a reason.
    fn check(&self) {
        let Some(server) = &self.server else { return };
        let engine = &server.engine;
        for endpoint in engine.endpoints() {
            let (mut waiting, mut busy) = (0, 0);
            let filter = Filter { endpoint: Some(endpoint.id.clone()), limit: 1_000, ..Filter::default() };
            for job in engine.reader().jobs(&filter).unwrap() {
                match &job.phase {
                    Phase::Waiting { .. } | Phase::Held { .. } => {
                        let reason = server.fleet.waiting(&job);
                        assert!(!reason.sentence(engine.now()).is_empty(), "{} waits for nothing", job.id);
                        waiting += u64::from(job.pinned.is_none());
                    }
                    Phase::Running { worker, .. } => {
                        let holds = engine.held_by(worker).iter().any(|(held, _)| *held == job.id);
                        assert!(holds, "{} runs and {worker} does not hold it", job.id);
                        busy += u64::from(job.pinned.is_none());
                    }
                    Phase::Draft { .. } | Phase::Done { .. } => {}
                }
            }
            let demand = engine.snapshot(&endpoint.id, 1).demand;
            assert_eq!((demand.waiting + demand.waiting_low, demand.running), (waiting, busy));
        }
    }

    async fn make_peace(&mut self) {
        self.nature(|nature| *nature = Nature { brief: nature.brief.clone(), ..Nature::peaceful() });
        if self.server.is_none() {
            self.server = Some(Server::start(&self.house).await);
        }
        for id in self.endpoints.clone() {
            let endpoint = self.server().engine.endpoint_by_id(&id).unwrap();
            let mut settings = endpoint.settings.clone();
            (settings.workers_min, settings.workers_max) = (0, settings.workers_max.max(1));
            let changed = Endpoint { settings, ..(*endpoint).clone() };
            self.server().engine.put_endpoint(changed).await.unwrap();
        }
    }

    async fn wait_for_rest(&mut self) {
        let begun = self.env.elapsed();
        loop {
            sleep(LOOK).await;
            self.check();
            self.check_promises();
            let left = self.what_is_left();
            if left.is_empty() {
                return;
            }
            assert!(self.env.elapsed() < begun + PEACE, "no rest:\n{}", left.join("\n"));
            // Jobs of low priority start no worker; they come with others.
            for id in self.endpoints.clone() {
                let endpoint = self.server().engine.endpoint_by_id(&id).unwrap();
                let demand = self.server().engine.snapshot(&id, 1).demand;
                if demand.waiting_low > 0 && demand.waiting + demand.running == 0 {
                    let new = NewJob::new(endpoint, "{}");
                    let accepted = self.server().engine.submit(&self.server().caller, new).await.unwrap();
                    self.jobs.push((accepted.job.id, id));
                }
            }
        }
    }

    /// What is said to happen at once happens.
    fn check_promises(&mut self) {
        let before = std::mem::take(&mut self.at_once);
        let server = self.server.as_ref().unwrap();
        for job in server.engine.reader().live().unwrap() {
            let reason = match job.phase {
                Phase::Waiting { .. } => server.fleet.waiting(&job),
                _ => continue,
            };
            if matches!(reason, WaitReason::AboutToBeTaken | WaitReason::ScalerWaits { in_ms: 0 }) {
                let times = before.get(&job.id).map_or(1, |times| times + 1);
                assert!(times < 6, "{reason:?} is not true of {job:?}:\n{}", self.what_is_left().join("\n"));
                self.at_once.insert(job.id, times);
            }
        }
    }

    fn what_is_left(&self) -> Vec<String> {
        let server = self.server();
        let (engine, fleet) = (&server.engine, &server.fleet);
        let mut left = Vec::new();
        for job in engine.reader().live().unwrap() {
            let reason = fleet.waiting(&job);
            left.push(format!("{job:?} because {}", reason.sentence(engine.now())));
        }
        left.extend(fleet.workers().iter().map(|worker| format!("{worker:?}")));
        left.extend(self.house.agent.alive().iter().map(|id| format!("{id} lives")));
        left.extend(self.deploys.iter().filter(|d| !d.is_finished()).map(|_| "a deploy".to_owned()));
        if !self.house.agent.is_empty() {
            left.push("the agent remembers workers or results".to_owned());
        }
        left
    }
}
