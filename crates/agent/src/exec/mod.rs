//! Commands that somebody runs beside a worker, inside of what holds it: in its container, or as a process with the same
//! user, the same view of the disk and the same variables. The two ways to begin one are below; what goes on between the
//! command and its two ends (`runyard_runtime::session`) is here. A command ends with its client, and with its worker.

#[cfg(feature = "docker")]
mod container;
mod process;
mod terminal;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body::Frame as BodyFrame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use runyard_domain::WorkerId;
use runyard_runtime::session::{Ended, Frame, Reader, Size, Start, Way};
use runyard_runtime::{RuntimeError, Whose};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use crate::agent::Agent;
use crate::worker::{Worker, locked};

/// How many commands may run at once.
pub const MOST: usize = 32;

/// How long the client has to say what shall be run.
const FIRST: Duration = Duration::from_secs(10);

/// The most arguments.
const MOST_ARGUMENTS: usize = 1_024;

/// Frames that wait for a slow client.
const WAITING: usize = 8;

/// What the client hears.
pub type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// What a command prints, as frames.
type Output = Pin<Box<dyn Stream<Item = Frame> + Send>>;

/// A command that runs.
struct Running {
    output: Output,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    hold: Hold,
}

/// What is left of a command when its output and input are taken away.
enum Hold {
    #[cfg(feature = "docker")]
    Container(container::Hold),
    Process(process::Hold),
}

impl Hold {
    #[cfg_attr(
        not(feature = "docker"),
        expect(clippy::unused_async, reason = "an engine is asked, where there is one")
    )]
    async fn resize(&self, size: Size) {
        match self {
            #[cfg(feature = "docker")]
            Self::Container(hold) => hold.resize(size).await,
            Self::Process(hold) => hold.resize(size),
        }
    }

    /// How it ended, once its output has.
    async fn ended(&mut self) -> Ended {
        match self {
            #[cfg(feature = "docker")]
            Self::Container(hold) => hold.ended().await,
            Self::Process(hold) => hold.ended().await,
        }
    }

    /// Ends it with all that it started.
    #[cfg_attr(
        not(feature = "docker"),
        expect(clippy::unused_async, reason = "an engine is asked, where there is one")
    )]
    async fn kill(&mut self) {
        match self {
            #[cfg(feature = "docker")]
            Self::Container(hold) => hold.kill().await,
            Self::Process(hold) => hold.kill(),
        }
    }
}

/// Runs the command that `body` begins with; the answer's body is what comes of it.
pub async fn open(agent: &Arc<Agent>, id: &str, body: Incoming) -> Result<Answer, RuntimeError> {
    let refused = |message: String, whose: Whose| RuntimeError {
        operation: format!("run a command beside worker {id}"),
        message,
        whose,
        retryable: false,
    };
    let worker = WorkerId::parse(id).ok().and_then(|id| locked(&agent.table).get(&id));
    let worker = worker.ok_or_else(|| refused("there is no such worker".to_owned(), Whose::User))?;
    if worker.is_dead() {
        return Err(refused("it has ended".to_owned(), Whose::User));
    }
    let seat = Arc::clone(&agent.commands).try_acquire_owned();
    let seat =
        seat.map_err(|_| refused(format!("{MOST} commands run already; end one of them"), Whose::User))?;
    let mut input = Input { body, reader: Reader::new(Way::In) };
    let first = timeout(FIRST, input.next()).await;
    let first = first.map_err(|_| refused("nothing was said of what to run".to_owned(), Whose::User))?;
    let first = first.map_err(|message| refused(message, Whose::User))?;
    let Some(Frame::Start(start)) = first else {
        return Err(refused("the first frame does not say what to run".to_owned(), Whose::User));
    };
    check(&start).map_err(|message| refused(message, Whose::User))?;
    let running = begin(agent, &worker, &start).await.map_err(|message| refused(message, Whose::User))?;
    tracing::info!(worker.id = %worker.id, endpoint.id = %worker.endpoint, "A command was started beside a worker");
    let (told, heard) = mpsc::channel(WAITING);
    tokio::spawn(attend(running, input, told, seat));
    let frames = stream::unfold(heard, |mut heard| async move {
        let bytes: Bytes = heard.recv().await?;
        Some((Ok(BodyFrame::data(bytes)), heard))
    });
    Ok(StreamBody::new(frames).boxed_unsync())
}

fn check(start: &Start) -> Result<(), String> {
    match start.command.first() {
        None => return Err("there is no command".to_owned()),
        Some(program) if program.is_empty() => return Err("the command is empty".to_owned()),
        Some(_) => {}
    }
    if start.command.len() > MOST_ARGUMENTS {
        return Err(format!("the command has more than {MOST_ARGUMENTS} arguments"));
    }
    if start.command.iter().any(|argument| argument.contains('\0')) {
        return Err("an argument holds a zero byte".to_owned());
    }
    Ok(())
}

#[cfg_attr(
    not(feature = "docker"),
    expect(clippy::unused_async, reason = "an engine is asked, where there is one")
)]
async fn begin(agent: &Arc<Agent>, worker: &Arc<Worker>, start: &Start) -> Result<Running, String> {
    #[cfg(feature = "docker")]
    if let Some(inside) = &worker.container {
        return container::begin(agent, worker, inside, start).await;
    }
    process::begin(agent, worker, start)
}

/// Goes with a command to its end, or to that of its client.
async fn attend(running: Running, mut from: Input, told: mpsc::Sender<Bytes>, _seat: OwnedSemaphorePermit) {
    let Running { mut output, input, mut hold } = running;
    let drained = async {
        while let Some(frame) = output.next().await {
            if told.send(frame.encode()).await.is_err() {
                return false;
            }
        }
        true
    };
    let is_whole = tokio::select! {
        is_whole = drained => is_whole,
        () = feed(&mut from, input, &hold) => false,
        () = told.closed() => false,
    };
    if !is_whole {
        return hold.kill().await;
    }
    let ended = tokio::select! {
        ended = hold.ended() => Some(ended),
        () = told.closed() => None,
    };
    match ended {
        Some(ended) => {
            let _ = told.send(Frame::Ended(ended).encode()).await;
        }
        None => hold.kill().await,
    }
}

/// Passes input on until the client breaks off.
async fn feed(from: &mut Input, input: Pin<Box<dyn AsyncWrite + Send>>, hold: &Hold) {
    let mut open = Some(input);
    loop {
        match from.next().await {
            Ok(Some(Frame::Input(bytes))) => {
                let Some(input) = open.as_mut() else { continue };
                // A command that reads no more may go on all the same.
                if input.write_all(&bytes).await.is_err() || input.flush().await.is_err() {
                    open = None;
                }
            }
            Ok(Some(Frame::Resize(size))) => hold.resize(size).await,
            Ok(end @ (Some(Frame::InputEnd) | None)) => {
                if let Some(mut input) = open.take() {
                    // A connection is shut down; a pipe is closed when it is dropped.
                    let _ = input.shutdown().await;
                }
                if end.is_none() {
                    return std::future::pending().await;
                }
            }
            Ok(Some(_)) => {}
            Err(_) => return,
        }
    }
}

/// The client's frames.
struct Input {
    body: Incoming,
    reader: Reader,
}

impl Input {
    /// The next frame; `None` where no more come.
    async fn next(&mut self) -> Result<Option<Frame>, String> {
        loop {
            if let Some(frame) = self.reader.frame().map_err(|error| error.to_string())? {
                return Ok(Some(frame));
            }
            match self.body.frame().await {
                None => return self.reader.finish().map(|()| None).map_err(|error| error.to_string()),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(piece)) => {
                    if let Some(bytes) = piece.data_ref() {
                        self.reader.push(bytes);
                    }
                }
            }
        }
    }
}
