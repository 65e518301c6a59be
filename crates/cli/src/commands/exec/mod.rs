//! `runyard exec WORKER -- CMD…`: a command beside a worker, as if it ran here: input, output and exit code pass through.

mod screen;
pub mod terminal;

use std::io::{IsTerminal as _, Read as _};

use bytes::Bytes;
use clap::Args;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame as BodyFrame;
use runyard_runtime::session::{Ended, Frame, Frames, Reader, Start, Way};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::client::{AnswerBody, path};
use crate::commands::workers;
use crate::context::Context;
use crate::errors::{Code, Exit, Failure};
use screen::Screen;
use terminal::Raw;

/// How much input is read at once.
const CHUNK: usize = 32 * 1024;

/// Frames that wait for a slow server.
const WAITING: usize = 8;

/// Run a command beside a worker, in its container or in its sandbox
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard exec w_4k2j -- nvidia-smi
  runyard exec -t w_4k2j -- bash                     a shell in the container or sandbox
  tar c data | runyard exec w_4k2j -- tar x -C /tmp  input is passed on where it is piped

Standard output and standard error come apart, and the exit code is the command's own. The command ends with this one.
It needs a key with 'deploy' for the worker's endpoint.")]
pub struct Exec {
    /// The worker's id, or its beginning
    #[arg(value_name = "WORKER")]
    worker: String,
    /// Give it this terminal
    #[arg(short, long)]
    tty: bool,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    command: Vec<String>,
}

impl Exec {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        if context.ui.json {
            return Err(
                Failure::usage("what the command prints is passed on as it is: there is no --json").into()
            );
        }
        if self.tty && !(std::io::stdin().is_terminal() && context.ui.out_terminal) {
            return Err(
                Failure::usage("--tty needs a terminal for input and output, and there is none").into()
            );
        }
        let client = context.client().await?;
        let worker = workers::resolve(&client, &self.worker).await?;
        let size = self.tty.then(terminal::size).transpose()?;
        let start = Frame::Start(Start { command: self.command, terminal: size });
        let (told, mut heard) = mpsc::channel::<Frame>(WAITING);
        let _ = told.send(start).await;
        let frames = stream::poll_fn(move |cx| {
            heard.poll_recv(cx).map(|frame| Some(Ok(BodyFrame::data(frame?.encode()))))
        });
        let body: Frames = StreamBody::new(frames).boxed_unsync();
        let answer = client.session(path::api(&["workers", &worker, "exec"]), body).await?;
        let raw = self.tty.then(Raw::enter).transpose()?;
        feed(self.tty, &told)?;
        let screen = Screen::new(!self.tty && context.ui.out_terminal);
        let ended = follow(answer, screen, &told, self.tty).await;
        drop(raw);
        finish(ended?)
    }
}

/// Passes input on from a thread of its own: a read of a terminal cannot be given up.
fn feed(terminal: bool, told: &mpsc::Sender<Frame>) -> anyhow::Result<()> {
    let told = told.clone();
    // Who types here types for the shell that this was started from, unless the command has the terminal.
    let reads = terminal || !std::io::stdin().is_terminal();
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut buffer = vec![0; CHUNK];
        let mut stdin = std::io::stdin().lock();
        while let Some(read) = reads.then(|| stdin.read(&mut buffer).unwrap_or(0)).filter(|read| *read > 0) {
            if told.blocking_send(Frame::Input(Bytes::copy_from_slice(&buffer[..read]))).is_err() {
                return;
            }
        }
        let _ = told.blocking_send(Frame::InputEnd);
    })?;
    Ok(())
}

/// Writes what comes until the command has ended.
async fn follow(
    mut answer: AnswerBody,
    mut screen: Screen,
    told: &mpsc::Sender<Frame>,
    terminal: bool,
) -> anyhow::Result<Ended> {
    let mut reader = Reader::new(Way::Out);
    let mut resized = signal(SignalKind::window_change())?;
    loop {
        let piece = tokio::select! {
            piece = answer.frame() => piece,
            _ = resized.recv(), if terminal => {
                let _ = told.send(Frame::Resize(terminal::size()?)).await;
                continue;
            }
        };
        let broken = |cause: String| {
            Failure::new(Code::Failure, "the connection to the command broke off").cause(cause)
        };
        let piece = match piece {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Err(broken(error.to_string()).into()),
            None => return Err(broken("the server or the worker ended it".to_owned()).into()),
        };
        reader.push(piece.data_ref().map_or(&[][..], |bytes| bytes));
        while let Some(frame) = reader.frame().map_err(|error| broken(error.to_string()))? {
            match frame {
                Frame::Out(bytes) => show(&mut std::io::stdout().lock(), &screen.out(&bytes))?,
                Frame::Err(bytes) => show(&mut std::io::stderr().lock(), &screen.err(&bytes))?,
                Frame::Ended(ended) => return Ok(ended),
                _ => {}
            }
        }
    }
}

fn show(to: &mut impl std::io::Write, bytes: &[u8]) -> anyhow::Result<()> {
    to.write_all(bytes).and_then(|()| to.flush()).map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => crate::errors::OutputClosed.into(),
        _ => error.into(),
    })
}

/// Its exit code is ours.
fn finish(ended: Ended) -> anyhow::Result<()> {
    match ended.code {
        Some(0) => Ok(()),
        Some(code) => Err(Exit(u8::try_from(code).unwrap_or(255)).into()),
        None => {
            let why = ended.why.unwrap_or_else(|| "nothing was said of why".to_owned());
            Err(Failure::new(Code::Failure, "it is not known how the command ended").cause(why).into())
        }
    }
}
