//! What workers send, through the agent to the server: paths, posts, versions, exceptions; and what agent and
//! server tell each other.

use std::fs;

use bytes::Bytes;
use http::Uri;
use runyard_domain::{FailReason, registry};
use runyard_gateway::probe::{self, Posted};
use runyard_runtime::session::{Reader, Way};
use runyard_runtime::wire::{Ending, Fault, Info, Notice, Started};
use runyard_runtime::{Observed, WorkerSpec};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::jobs::is_part;
use crate::text;

/// A bound that small inputs reach, too.
const LIMIT: usize = 1_000;

/// A path as it goes on to the server is an address still, and of the same worker: reading it again changes
/// nothing.
pub fn path(data: &[u8]) {
    let text = text(data);
    let Ok(uri) = text.parse::<Uri>() else { return };
    let Some(path) = uri.path_and_query() else { return };
    let Some((token, wish, sent)) = runyard_agent::probe::route(path.as_str()) else { return };
    assert!(sent.parse::<Uri>().is_ok(), "{sent:?} cannot be sent on");
    assert_eq!(runyard_agent::probe::route(&sent), Some((token, wish, sent.clone())));
}

/// What is kept of a post is JSON that stood in it and within the limit; agent and server agree on what is only
/// progress.
pub fn post(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    match probe::done(&body, LIMIT) {
        Posted::Progress(value) => {
            assert!(serde_json::from_slice::<&RawValue>(&value).is_ok());
        }
        Posted::Done(error, output) => {
            // The agent forgets a job whose result it saw: it may take progress for less, never for more.
            assert!(
                !runyard_agent::probe::is_progress(data) || error.is_some(),
                "the agent takes a result for progress"
            );
            assert!(error.is_none_or(|words| !words.is_empty()));
            if let Some(output) = output {
                is_part(&body, &output);
                assert!(output.len() <= LIMIT);
            }
        }
    }
    match probe::chunk(&body, LIMIT) {
        Ok(value) => {
            is_part(&body, &value);
            assert!(value.len() <= LIMIT);
        }
        Err(words) => assert!(!words.is_empty()),
    }
}

/// A version is short and harmless.
pub fn user_agent(data: &[u8]) {
    if let Some(version) = probe::sdk_version(&text(data)) {
        assert!((1..=40).contains(&version.len()));
        assert!(version.bytes().all(|b| b.is_ascii_graphic()));
    }
}

/// An exception has a name that stands in the text, and a file of its own where it has a line.
pub fn traceback(data: &[u8]) {
    match probe::exception(&text(data)) {
        Some(FailReason::HandlerException { file, line, .. }) => assert_eq!(file.is_some(), line.is_some()),
        Some(other) => panic!("{other:?} is no exception"),
        None => {}
    }
}

/// An error object has its message.
pub fn error_object(data: &[u8]) {
    if let Some(object) = probe::error_object(&text(data)) {
        assert!(object["message"].is_string());
    }
}

/// Whatever a crash leaves in the spool's file: what is read of it can be sent, is read again, and can be done
/// with.
pub fn spool(data: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("posts");
    fs::write(&file, data).expect("written");
    let first = runyard_agent::probe::spool(dir.path(), false).expect("a file of any content opens");
    let kept = fs::read(&file).expect("readable");
    assert!(data.starts_with(&kept), "opening changes what is there");
    assert_eq!(runyard_agent::probe::spool(dir.path(), false).expect("again"), first);
    assert_eq!(fs::read(&file).expect("readable"), kept, "opening twice is opening once");
    let all = runyard_agent::probe::spool(dir.path(), true).expect("each can be done with");
    assert!(all.len() >= first.len());
    assert!(runyard_agent::probe::spool(dir.path(), false).expect("empty").is_empty());
}

/// What one side of the control socket reads it writes back as the same. Numbers with fractions are not on that wire,
/// and those in what a newer side says are only kept roughly.
pub fn runtime_wire(data: &[u8]) {
    let is_exact = serde_json::from_slice(data).is_ok_and(|value| !has_fraction(&value));
    macro_rules! same_again {
        ($($kind:ty),*) => {$(
            if let Ok(read) = serde_json::from_slice::<$kind>(data) {
                let written = serde_json::to_vec(&read).expect("plain data has a JSON form");
                let again: $kind = serde_json::from_slice(&written).expect("what was written can be read");
                assert!(!is_exact || read == again, "{read:?} became {again:?}");
            }
        )*};
    }
    same_again!(Info, Started, Ending, Notice, Fault, Observed, WorkerSpec);
}

/// However the frames of a command's session are cut, they are the same; what was read is written as it came, up to
/// where something cannot be read.
pub fn session_frames(data: &[u8]) {
    for way in [Way::In, Way::Out] {
        let read = |cut: usize| {
            let (mut reader, mut frames) = (Reader::new(way), Vec::new());
            for piece in data.chunks(cut) {
                reader.push(piece);
                loop {
                    match reader.frame() {
                        Ok(Some(frame)) => frames.push(frame),
                        Ok(None) => break,
                        Err(error) => return (frames, Some(error)),
                    }
                }
            }
            let ended = reader.finish().err();
            (frames, ended)
        };
        let whole = read(data.len().max(1));
        assert_eq!(read(1), whole, "cut in another way");
        let written: Vec<u8> = whole.0.iter().flat_map(|frame| frame.encode().to_vec()).collect();
        let mut reader = Reader::new(way);
        reader.push(&written);
        for frame in &whole.0 {
            assert_eq!(reader.frame().as_ref(), Ok(&Some(frame.clone())), "what was written can be read");
        }
        reader.finish().expect("nothing more was written");
    }
}

/// The host of a registry has one spelling, and an image's name that begins with it points there.
pub fn registry_names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = registry::host_of(text);
    if let Some(host) = registry::server_of(text) {
        assert_eq!(registry::server_of(&host).as_ref(), Some(&host), "{text:?}");
        assert!(!host.contains(['/', '@', ' ']), "{host:?}");
        assert_eq!(registry::host_of(&format!("{host}/me/worker:v1")), host, "{text:?}");
    }
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_fraction),
        Value::Object(members) => members.values().any(has_fraction),
        _ => false,
    }
}
