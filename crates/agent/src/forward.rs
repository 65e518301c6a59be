//! Carries a worker's request to the server and the answer back. While the server is away polls are held,
//! pings are answered, and posts (see `post`) are spooled.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use runyard_listener::Received;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::agent::Agent;
use crate::delivery::Delivery;
use crate::listener::Whose;
use crate::post;
use crate::reply::{self, Reply};
use crate::route::{self, Route, Wish};
use crate::upstream::{Away, Backoff, Outgoing, from_worker};
use crate::worker::{Worker, locked};

/// How long who shows an unknown token waits for the answer: SDKs ask again at once.
const REFUSE: Duration = Duration::from_secs(2);
/// How long a poll is held while the server is away. Some SDKs give up after 30 s.
const HOLD: Duration = Duration::from_secs(22);
/// How long a ping may take.
const PING: Duration = Duration::from_secs(5);
/// How long the server's answer is still awaited when the worker is gone: jobs in it go back.
const GRACE: Duration = Duration::from_millis(5);

/// Answers a worker's request.
pub async fn answer(agent: Arc<Agent>, whose: Arc<Whose>, request: Request<Received>) -> Response<Reply> {
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let Some(route) = route::parse(path) else {
        sleep(REFUSE).await;
        return reply::refusal(StatusCode::NOT_FOUND, "this address is for workers: /w/{token}/v2/…");
    };
    let worker = locked(&agent.table).by_token(&route.token);
    // A dead worker's children go on pinging and may not take work; its results are still welcome.
    let posts = matches!(route.wish, Wish::Done(_) | Wish::Stream(_));
    let Some(worker) = worker.filter(|worker| posts || !worker.is_dead()) else {
        sleep(REFUSE).await;
        return reply::refusal(StatusCode::UNAUTHORIZED, "the worker of this token does not run");
    };
    // A refused result would be lost.
    if !whose.is_taken_by(&worker) && !posts {
        sleep(REFUSE).await;
        return reply::last_refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "this worker has too many connections open",
        );
    }
    let Route { wish, path, .. } = route;
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    let announced = post::length(&headers);
    from_worker(&mut headers);
    let mut outgoing =
        Outgoing { method: parts.method, path, headers, body: bytes::Bytes::new(), only: None };
    match wish {
        Wish::Take | Wish::Stop => poll(agent, worker, outgoing).await,
        Wish::Ping => ping(&agent, &worker, outgoing).await,
        Wish::Done(job) => post::done(agent, worker, job, outgoing, body, announced).await,
        Wish::Stream(job) => post::stream(agent, worker, job, outgoing, body, announced).await,
        Wish::Other => {
            let Ok(body) = post::collect(&agent, &worker, body, announced).await else {
                return reply::refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is over 64 MiB");
            };
            outgoing.body = body.bytes;
            if let Ok((answer, ())) = agent.upstream.call(&outgoing, |_, _| ()).await {
                return reply::passed_on(answer, None);
            }
            sleep(Duration::from_secs(1)).await;
            reply::refusal(StatusCode::SERVICE_UNAVAILABLE, "the server is away")
        }
    }
}

async fn ping(agent: &Agent, worker: &Worker, request: Outgoing) -> Response<Reply> {
    if agent.spool.holds_of(&worker.id) {
        // It does not name the jobs whose results still have to come: the server would think them forgotten.
        return reply::empty(StatusCode::OK);
    }
    match timeout(PING, agent.upstream.call(&request, |_, _| ())).await {
        Ok(Ok((answer, ()))) => reply::passed_on(answer, None),
        Ok(Err(Away)) | Err(_) => reply::empty(StatusCode::OK),
    }
}

/// A poll: the server holds it, and where there is none, we do.
async fn poll(agent: Arc<Agent>, worker: Arc<Worker>, request: Outgoing) -> Response<Reply> {
    let until = Instant::now() + HOLD;
    let mut backoff = Backoff::default();
    // A poll that overtook its worker's results would tell the server that their jobs were forgotten.
    if timeout_at(until, agent.spool.brought(&worker.id)).await.is_err() {
        return reply::empty(StatusCode::NO_CONTENT);
    }
    // As long as the server answers, it decides how long it holds; once it was away, the time is ours.
    if let Ok(response) = ask(&agent, &worker, request.clone()).await {
        return response;
    }
    loop {
        if timeout_at(until, agent.upstream.pause(&mut backoff)).await.is_err() {
            return reply::empty(StatusCode::NO_CONTENT);
        }
        let in_turn = async {
            agent.spool.brought(&worker.id).await;
            ask(&agent, &worker, request.clone()).await
        };
        match timeout_at(until, in_turn).await {
            Ok(Ok(response)) => return response,
            Ok(Err(Away)) => {}
            Err(_) => return reply::empty(StatusCode::NO_CONTENT),
        }
    }
}

/// Asks the server in a task of its own, which notices when the worker is gone: it ends the request, so that
/// the server sees the same, and gives back what is already on its way.
async fn ask(agent: &Arc<Agent>, worker: &Arc<Worker>, request: Outgoing) -> Result<Response<Reply>, Away> {
    let (mut answer, answered) = oneshot::channel();
    let (agent, worker) = (Arc::clone(agent), Arc::clone(worker));
    tokio::spawn(async move {
        let announced = |headers: &HeaderMap, from| Delivery::announced(headers, from, &worker, &agent);
        let call = agent.upstream.call(&request, announced);
        tokio::pin!(call);
        let result = tokio::select! {
            biased;
            result = &mut call => result,
            () = answer.closed() => match timeout(GRACE, call).await {
                Ok(result) => result,
                Err(_) => return,
            },
        };
        let current = result.and_then(|(answer, delivery)| match delivery {
            Some(delivery) if delivery.is_outdated() => Err(Away),
            delivery => Ok(reply::passed_on(answer, delivery)),
        });
        // Dropped with the delivery in it where nobody waits any more.
        let _ = answer.send(current);
    });
    answered.await.unwrap_or(Err(Away))
}
