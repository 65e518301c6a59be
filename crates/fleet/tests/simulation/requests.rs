//! What workers ask of the server through the agent: polls with the hand-over of jobs, results with the spool behind
//! them, orders to stop, pings.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runyard_domain::job::Answer;
use runyard_domain::{EndpointId, FailReason, JobId, WorkerId};
use runyard_engine::{Ask, Engine, EngineError, Take};
use runyard_store::Which;
use runyard_vault::WorkerCaller;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::agent::{Agent, Away, answer};
use crate::worker::Me;

/// How long a poll is held while the server is away.
const HOLD: Duration = Duration::from_secs(22);
/// How long the server's answer is still awaited when the worker is gone.
const GRACE: Duration = Duration::from_millis(5);
/// How long the server may take to settle a post before it counts as away.
const ANSWER: Duration = Duration::from_secs(30);
/// Between two looks for the server.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a worker that is on its way out, or has no business here, waits for that answer.
const NOTHING_MORE: Duration = Duration::from_secs(2);

/// What a worker sends of a job.
#[derive(Debug, Clone)]
pub struct Post {
    pub endpoint: EndpointId,
    pub release: u32,
    pub token: String,
    pub job: JobId,
    /// It is the result; else a part of a stream.
    pub last: bool,
    pub fails: bool,
}

/// Jobs on their way to a worker; dropped before they were handed over they go back.
struct Delivery {
    agent: Arc<Agent>,
    worker: WorkerId,
    jobs: Vec<JobId>,
}

impl Delivery {
    fn handed_over(mut self) -> Vec<JobId> {
        let jobs = std::mem::take(&mut self.jobs);
        if let Some(local) = self.agent.state().workers.get_mut(&self.worker) {
            local.holds.extend(jobs.iter().cloned());
        }
        jobs
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let jobs = std::mem::take(&mut self.jobs);
        if !jobs.is_empty() && tokio::runtime::Handle::try_current().is_ok() {
            let (agent, worker) = (Arc::clone(&self.agent), self.worker.clone());
            self.agent.spawn(async move { agent.bring_back(worker, jobs).await });
        }
    }
}

impl Agent {
    /// Asks the server; a server that dies meanwhile has not answered.
    async fn ask<T, F>(&self, question: impl FnOnce(Engine) -> F) -> Result<T, Away>
    where
        F: Future<Output = Result<T, EngineError>>,
    {
        let reach = self.upstream.get().ok_or(Away)?;
        self.hop().await;
        tokio::select! {
            biased;
            () = reach.life.over() => Err(Away),
            answer = question(reach.engine.clone()) => Ok(answer?),
        }
    }

    /// Waits a moment, or until a server is back.
    async fn pause(&self) {
        let _ = timeout(PAUSE, self.upstream.change()).await;
    }

    /// A worker asks for jobs.
    pub async fn poll(self: &Arc<Self>, me: &Me, ask: Ask) -> Vec<JobId> {
        let until = Instant::now() + HOLD;
        loop {
            // What it posted comes first.
            while self.state().spool.contains_key(&me.id) {
                if timeout_at(until, self.pause()).await.is_err() {
                    return Vec::new();
                }
            }
            let (mut tell, told) = oneshot::channel();
            let (agent, me, ask) = (Arc::clone(self), me.clone(), ask.clone());
            self.spawn(async move {
                let call = agent.take(&me, ask);
                tokio::pin!(call);
                let result = tokio::select! {
                    biased;
                    result = &mut call => result,
                    () = tell.closed() => match timeout(GRACE, call).await {
                        Ok(result) => result,
                        Err(_) => return,
                    },
                };
                let _ = tell.send(result);
            });
            match answer(told).await {
                Ok(Ok(delivery)) => {
                    self.hop().await;
                    return delivery.map_or_else(Vec::new, Delivery::handed_over);
                }
                Ok(Err(Away)) | Err(Away) => {
                    if timeout_at(until, self.pause()).await.is_err() {
                        return Vec::new();
                    }
                }
            }
        }
    }

    async fn take(self: &Arc<Self>, me: &Me, ask: Ask) -> Result<Option<Delivery>, Away> {
        let agent = Arc::clone(self);
        let id = me.id.clone();
        let taken = self.ask(|engine| async move {
            let Some(who) = known(&engine, &me.token) else {
                sleep(NOTHING_MORE).await;
                return Ok(None);
            };
            Ok(match engine.take(&who, ask).await? {
                Take::Jobs(mut handover) => {
                    let jobs = handover.jobs.iter().map(|handed| handed.job.id.clone()).collect();
                    // The answer is being written.
                    agent.hop().await;
                    handover.delivered();
                    Some(Delivery { agent, worker: id, jobs })
                }
                Take::Nothing => None,
                Take::Drained => {
                    sleep(NOTHING_MORE).await;
                    None
                }
            })
        });
        taken.await
    }

    async fn bring_back(&self, worker: WorkerId, jobs: Vec<JobId>) {
        loop {
            let (worker, jobs) = (worker.clone(), jobs.clone());
            let back = self.ask(|engine| async move { engine.give_back(&worker, Which::Jobs(jobs)).await });
            if back.await.is_ok() {
                return;
            }
            self.pause().await;
        }
    }

    /// A worker posts a part or the result of a job; true where it was answered with 200.
    pub async fn post(self: &Arc<Self>, me: &Me, job: &JobId, last: bool, fails: bool) -> bool {
        let (endpoint, release) = {
            let mut state = self.state();
            let Some(local) = state.workers.get_mut(&me.id) else { return false };
            local.posts += 1;
            (local.spec.endpoint.clone(), local.spec.release)
        };
        let post = Post { endpoint, release, token: me.token.clone(), job: job.clone(), last, fails };
        let (tell, told) = oneshot::channel();
        let (agent, worker) = (Arc::clone(self), me.id.clone());
        // Received whole, it counts also if its worker dies now.
        self.spawn(async move {
            agent.settle(&worker, post).await;
            if let Some(local) = agent.state().workers.get_mut(&worker) {
                local.posts -= 1;
                local.settled.notify_waiters();
            }
            let _ = tell.send(());
        });
        answer(told).await.is_ok()
    }

    async fn settle(self: &Arc<Self>, worker: &WorkerId, post: Post) {
        let waits = self.state().spool.contains_key(worker);
        let forwarded = !waits && matches!(timeout(ANSWER, self.bring(&post)).await, Ok(Ok(())));
        if !forwarded {
            // The disk takes its time.
            self.hop().await;
        }
        let (job, last) = (post.job.clone(), post.last);
        {
            let mut state = self.state();
            if !forwarded {
                state.spool.entry(worker.clone()).or_default().push_back(post);
            }
            if last && let Some(local) = state.workers.get_mut(worker) {
                local.holds.remove(&job);
            }
        }
        self.spool_filled.notify_one();
        if last {
            self.witness.answered(worker, &job);
        }
    }

    /// To the server, which settles it in a task of its own.
    async fn bring(&self, post: &Post) -> Result<(), Away> {
        let post = post.clone();
        self.ask(|engine| async move {
            let settled = tokio::spawn(async move {
                let Some(who) = known(&engine, &post.token) else { return Ok(()) };
                let value = Bytes::from_static(b"1");
                if !post.last {
                    return engine.progress(&who, &post.job, value).await;
                }
                let answer = if post.fails { failure() } else { Answer::Success };
                engine.finish(&who, &post.job, answer, Some(value)).await?;
                engine.hold_spoiled(who.worker()).await;
                Ok(())
            });
            settled.await.unwrap_or(Err(EngineError::Stopped))
        })
        .await
    }

    /// Empties the spool into the server as long as the agent lives.
    pub async fn replay(self: Arc<Self>) {
        loop {
            let oldest = {
                let state = self.state();
                let of = |(id, posts): (&WorkerId, &std::collections::VecDeque<Post>)| {
                    posts.front().map(|post| (id.clone(), post.clone()))
                };
                state.spool.iter().find_map(of)
            };
            let Some((worker, post)) = oldest else {
                self.spool_filled.notified().await;
                continue;
            };
            if self.bring(&post).await.is_err() {
                self.pause().await;
                continue;
            }
            let mut state = self.state();
            if let Some(posts) = state.spool.get_mut(&worker) {
                posts.pop_front();
                if posts.is_empty() {
                    state.spool.remove(&worker);
                }
            }
        }
    }

    /// Jobs that a worker has to let go of; waits for one.
    pub async fn stop_orders(&self, me: &Me) -> Vec<JobId> {
        let token = me.token.clone();
        let orders = self.ask(|engine| async move {
            let Some(who) = known(&engine, &token) else { return Ok(None) };
            Ok(engine.stop_orders(&who, HOLD).await)
        });
        if let Ok(Some(jobs)) = orders.await {
            return jobs;
        }
        sleep(NOTHING_MORE).await;
        Vec::new()
    }

    /// A worker says that it is not fit to work.
    pub async fn unfit(&self, me: &Me) {
        let token = me.token.clone();
        let said = self.ask(|engine| async move {
            if let Some(who) = known(&engine, &token) {
                engine.unfit(&who, "check 'gpu' failed: none".into());
            }
            Ok(())
        });
        let _ = said.await;
    }

    /// A worker asks to be replaced; that came with a result.
    pub fn refresh(&self, worker: &WorkerId) {
        if let Some(reach) = self.upstream.get() {
            reach.fleet.refresh(worker);
        }
    }

    /// A sign of life.
    pub async fn ping(&self, me: &Me, jobs: Vec<JobId>, sdk: Option<&str>) {
        if self.state().spool.contains_key(&me.id) {
            return;
        }
        let token = me.token.clone();
        let _ = self
            .ask(|engine| async move {
                if let Some(who) = known(&engine, &token) {
                    engine.ping(&who, &jobs, sdk);
                }
                Ok(())
            })
            .await;
    }
}

fn known(engine: &Engine, token: &str) -> Option<WorkerCaller> {
    engine.vault().worker_caller(token).ok()
}

fn failure() -> Answer {
    let reason = FailReason::HandlerError { message: "no".into() };
    Answer::Failure { error: "no".into(), reason }
}
