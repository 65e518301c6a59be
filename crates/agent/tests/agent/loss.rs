//! The server goes, the agent goes: what is kept, what is held, and what must not survive.

use std::process::{Command, Stdio};

use runyard_domain::JobId;
use runyard_runtime::process::ProcessRuntime;
use runyard_runtime::{Event, Paths, Runtime as _};
use rustix::process::Signal;

use crate::harness::{Harness, exe, kill, lives, until, within};
use crate::server::Server;

const DONE: &str = "/w/token-w1/v2/ep/job-done/w1";
const STREAM: &str = "/w/token-w1/v2/ep/job-stream/w1";

async fn with_worker() -> Harness {
    let h = Harness::new().await;
    h.sh("w1", "echo ready; exec sleep 1000").await;
    h
}

#[tokio::test]
async fn posts_are_spooled_and_replayed_in_order() {
    let h = with_worker().await;
    for n in 1..=3 {
        let (status, _) = h.send("POST", &format!("{STREAM}/a-u1?x"), &format!("{{\"output\":{n}}}")).await;
        assert_eq!(status.as_u16(), 200);
    }
    let (status, _) = h.send("POST", &format!("{DONE}/a-u1?isStream=true"), r#"{"output":[]}"#).await;
    assert_eq!(status.as_u16(), 200);
    let spool = std::fs::metadata(h.paths.spool().join("posts")).unwrap().len();
    assert!(spool > 0);
    assert_eq!(h.observed("w1").await.unwrap().spooled, [JobId::new("a-u1")]);

    let mut server = Server::start(&h.paths);
    for n in 1..=3 {
        let seen = server.next().await;
        assert_eq!(seen.path, format!("{STREAM}/a-u1?x"));
        assert_eq!(
            (seen.header("x-runyard-chunk"), seen.body.as_str()),
            (&*n.to_string(), &*format!("{{\"output\":{n}}}"))
        );
        if n == 2 {
            // A server that fails gets it again.
            seen.answer(500, &[], "");
            let again = server.next().await;
            assert_eq!(again.header("x-runyard-chunk"), "2");
            // What comes now has to wait its turn.
            let (status, _) = h.send("POST", &format!("{DONE}/b-u1?x"), r#"{"output":"later"}"#).await;
            assert_eq!(status.as_u16(), 200);
            again.answer(200, &[], "");
        } else {
            seen.answer(200, &[], "");
        }
    }
    let seen = server.next().await;
    assert_eq!(
        (seen.path.as_str(), seen.body.as_str()),
        (&*format!("{DONE}/a-u1?isStream=true"), r#"{"output":[]}"#)
    );
    seen.answer(404, &[], "");
    let seen = server.next().await;
    assert_eq!(seen.body, r#"{"output":"later"}"#);
    seen.answer(200, &[], "");
    until("an empty spool", || std::fs::metadata(h.paths.spool().join("posts")).unwrap().len() == 0).await;
    h.see("w1", "nothing spooled", |worker| worker.spooled.is_empty()).await;
}

#[tokio::test]
async fn a_server_that_breaks_off_or_says_it_is_away_counts_as_away() {
    let h = with_worker().await;
    let mut server = Server::start(&h.paths);
    let played = async { server.next().await.answer(503, &[("x-runyard-away", "1")], "") };
    let path = format!("{DONE}/a-u1?x");
    let (answer, ()) = tokio::join!(h.send("POST", &path, r#"{"output":1}"#), played);
    assert_eq!(answer.0.as_u16(), 200);
    // The replay: broken off, and tried again.
    drop(server.next().await);
    let seen = server.next().await;
    assert_eq!(seen.body, r#"{"output":1}"#);
    seen.answer(200, &[], "");
}

#[tokio::test]
async fn polls_are_held_and_pings_answered_while_the_server_is_away() {
    let h = with_worker().await;
    let (status, _) = h.send("GET", "/w/token-w1/v2/ep/ping/w1?job_id=a-u1", "").await;
    assert_eq!(status.as_u16(), 200);
    let first = Server::start(&h.paths);
    let held = h.send("GET", "/w/token-w1/v2/ep/job-take/w1?x", "");
    let played = async {
        let mut first = first;
        let seen = first.next().await;
        drop(first);
        drop(seen);
        let mut second = Server::start(&h.paths);
        let seen = second.next().await;
        assert_eq!(seen.path, "/w/token-w1/v2/ep/job-take/w1?x");
        seen.answer(200, &[("x-runyard-jobs", "a-u1")], r#"{"id":"a-u1"}"#);
    };
    let (answer, ()) = tokio::join!(held, played);
    assert_eq!(answer, (http::StatusCode::OK, r#"{"id":"a-u1"}"#.to_owned()));
    assert_eq!(h.observed("w1").await.unwrap().holds, [JobId::new("a-u1")]);
}

/// The last words of a server that was killed are still on their way when the next one looks at what the workers hold,
/// and gives everything else to others.
#[tokio::test]
async fn what_a_dead_server_answered_is_not_delivered_after_the_next_one_has_looked() {
    let h = with_worker().await;
    let mut server = Server::start(&h.paths);
    let poll = h.send("GET", "/w/token-w1/v2/ep/job-take/w1?x", "");
    let played = async {
        let last = server.next().await;
        let next = within("the agent", ProcessRuntime::connect(h.paths.clone(), exe())).await.unwrap();
        let looked = next.list().await.unwrap();
        assert!(looked.iter().all(|worker| worker.holds.is_empty()));
        last.answer(200, &[("x-runyard-jobs", "a-u1")], r#"{"id":"a-u1"}"#);
        let again = server.next().await;
        assert_eq!(again.path, "/w/token-w1/v2/ep/job-take/w1?x", "nothing is given back: that is settled");
        assert!(h.observed("w1").await.unwrap().holds.is_empty());
        again.answer(204, &[], "");
    };
    let (answer, ()) = tokio::join!(poll, played);
    assert_eq!(answer.0.as_u16(), 204);
}

/// A worker that asks for more, says that it is at work on nothing, and whose result nobody has seen: the server
/// would take that job for forgotten and have it run again.
#[tokio::test]
async fn no_poll_and_no_ping_overtakes_a_result_that_waits() {
    let h = with_worker().await;
    let (status, _) = h.send("POST", &format!("{DONE}/a-u1?x"), r#"{"output":1}"#).await;
    assert_eq!(status.as_u16(), 200);
    let held = h.send("GET", "/w/token-w1/v2/ep/job-take/w1?job_in_progress=0", "");
    let played = async {
        let mut server = Server::start(&h.paths);
        for _ in 0..4 {
            let seen = server.next().await;
            assert_eq!(seen.path, format!("{DONE}/a-u1?x"));
            seen.answer(500, &[], "");
            let (status, _) = h.send("GET", "/w/token-w1/v2/ep/ping/w1?runpod_version=1.12.0", "").await;
            assert_eq!(status.as_u16(), 200, "the agent answers it");
        }
        let seen = server.next().await;
        assert_eq!(seen.path, format!("{DONE}/a-u1?x"));
        seen.answer(200, &[], "");
        let seen = server.next().await;
        assert_eq!(seen.path, "/w/token-w1/v2/ep/job-take/w1?job_in_progress=0");
        seen.answer(204, &[], "");
    };
    let (answer, ()) = tokio::join!(held, played);
    assert_eq!(answer.0.as_u16(), 204);
}

#[tokio::test]
async fn a_poll_without_a_server_ends_with_nothing() {
    let h = with_worker().await;
    let begun = std::time::Instant::now();
    let (status, _) = h.send("GET", "/w/token-w1/v2/ep/job-stop/w1?x", "").await;
    assert_eq!(status.as_u16(), 204);
    assert!((20..26).contains(&begun.elapsed().as_secs()));
}

#[tokio::test]
async fn no_worker_survives_a_killed_agent_and_no_result_is_lost() {
    let h = Harness::new().await;
    let main = h.sh("w1", "setsid sh -c 'echo away $$; exec sleep 1000' & exec sleep 1000").await;
    let away: u32 = h.line("w1", "away ").await.parse().unwrap();
    let (status, _) = h.send("POST", &format!("{DONE}/a-u1?x"), r#"{"output":1}"#).await;
    assert_eq!(status.as_u16(), 200);
    let mut events = h.runtime.watch();
    let agent = h.agent_pid().await;
    kill(agent, Signal::KILL);
    until("the worker's end", || !lives(main)).await;
    // The next agent comes by itself, and sweeps what had a session of its own.
    let resync = async { while events.recv().await != Ok(Event::Resync) {} };
    within("a resync", resync).await;
    until("the sweep", || !lives(away)).await;
    let ghost = h.see("w1", "the worker whose result waits", |_| true).await;
    assert!(ghost.ended_at.is_some() && ghost.exit.is_none());
    assert_eq!(ghost.spooled, [JobId::new("a-u1")]);
    assert_ne!(h.agent_pid().await, agent);
    assert!(!h.paths.work().join("w1").exists());

    let mut server = Server::start(&h.paths);
    let seen = server.next().await;
    assert_eq!((seen.path.as_str(), seen.body.as_str()), (&*format!("{DONE}/a-u1?x"), r#"{"output":1}"#));
    seen.answer(200, &[], "");
    let gone = async {
        while h.observed("w1").await.is_some() {
            tokio::task::yield_now().await;
        }
    };
    within("the ghost's end", gone).await;
}

#[tokio::test]
async fn a_torn_spool_keeps_what_is_whole() {
    let h = with_worker().await;
    for job in ["a-u1", "b-u1"] {
        h.send("POST", &format!("{DONE}/{job}?x"), r#"{"output":"much longer than what is cut off"}"#).await;
    }
    within("the shutdown", h.runtime.shut_down()).await.unwrap();
    let spool = h.paths.spool().join("posts");
    let file = std::fs::OpenOptions::new().write(true).open(&spool).unwrap();
    file.set_len(file.metadata().unwrap().len() - 10).unwrap();
    let mut server = Server::start(&h.paths);
    let second = within("an agent", ProcessRuntime::connect(h.paths.clone(), exe())).await.unwrap();
    let seen = server.next().await;
    assert_eq!(seen.path, format!("{DONE}/a-u1?x"));
    seen.answer(200, &[], "");
    until("an empty spool", || std::fs::metadata(&spool).unwrap().len() == 0).await;
    assert!(server.is_idle());
    second.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_second_runtime_finds_the_same_agent() {
    let h = with_worker().await;
    let second = within("the agent", ProcessRuntime::connect(h.paths.clone(), exe())).await.unwrap();
    assert_eq!(second.info().await.unwrap(), h.runtime.info().await.unwrap());
    assert_eq!(second.list().await.unwrap(), h.runtime.list().await.unwrap());
    let lost = Command::new(exe()).arg("agent").arg("--data").arg(&h.paths.data).output().unwrap();
    assert!(!lost.status.success());
    assert!(String::from_utf8_lossy(&lost.stderr).contains("another agent runs"));
}

#[tokio::test]
async fn without_a_server_the_agent_ends_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path().canonicalize().unwrap());
    let mut agent = Command::new(exe())
        .arg("agent")
        .arg("--data")
        .arg(&paths.data)
        .env("RUNYARD_ORPHAN_MS", "300")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let waiting = tokio::task::spawn_blocking(move || agent.wait());
    let status = within("the agent's end", waiting).await.unwrap().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn only_the_key_opens_the_control_socket() {
    let h = with_worker().await;
    let stream = tokio::net::UnixStream::connect(h.paths.agent_socket()).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/workers").header("host", "agent");
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status().as_u16(), 403);
}
