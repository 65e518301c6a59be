//! A command that somebody runs beside a worker: what its two ends say to each other, over the body of a request and the
//! body of its answer. Both are a row of frames: one byte for the kind, four for the length (highest first), then so
//! many bytes. The server passes them on unread.
//!
//! | to the command | | from it | |
//! |---|---|---|---|
//! | 0 | [`Start`], JSON, first of all | | |
//! | 1 | standard input | 1 | standard output, with a terminal all of it |
//! | 2 | its end | 2 | standard error |
//! | 3 | [`Size`], JSON | 3 | [`Ended`], JSON, last of all |
//!
//! The command ends when its request is broken off. A request whose body ends has only said that no more input comes.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use serde::{Deserialize, Serialize};

/// The largest frame, in bytes.
pub const LARGEST: usize = 64 * 1024;

/// The bytes of the kind and the length.
const HEAD: usize = 5;

/// One side's frames on their way.
pub type Frames = UnsyncBoxBody<Bytes, std::io::Error>;

/// What the bytes are called.
pub const CONTENT_TYPE: &str = "application/vnd.runyard.session";

/// The command to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Program and arguments.
    pub command: Vec<String>,
    /// The terminal that it shall have.
    #[serde(default)]
    pub terminal: Option<Size>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// From top to bottom.
    pub rows: u16,
    /// From left to right.
    pub columns: u16,
}

/// How it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit code; what a signal ended has 128 and its number.
    pub code: Option<i32>,
    /// Why that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A piece of a session. Which ones go which way is told above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The command to run.
    Start(Start),
    /// For its standard input.
    Input(Bytes),
    /// No more input comes.
    InputEnd,
    /// Its terminal has another size.
    Resize(Size),
    /// Of its standard output.
    Out(Bytes),
    /// Of its standard error.
    Err(Bytes),
    /// It has ended.
    Ended(Ended),
}

/// Which way frames go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the command.
    In,
    /// From it.
    Out,
}

/// What came is no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is too long.
    #[error("a frame of {0} bytes came, and it may have {LARGEST}")]
    Long(usize),
    /// It cannot be read.
    #[error("a frame of kind {0} came that cannot be read: is the other side of another version?")]
    Unreadable(u8),
    /// It broke off.
    #[error("the frames broke off")]
    Broken,
}

impl Frame {
    /// The frame as bytes; what is longer than a frame becomes several.
    pub fn encode(&self) -> Bytes {
        let json = |value: serde_json::Result<Vec<u8>>| Bytes::from(value.unwrap_or_default());
        let (kind, body) = match self {
            Self::Start(start) => (0, json(serde_json::to_vec(start))),
            Self::Input(bytes) | Self::Out(bytes) => (1, bytes.clone()),
            Self::InputEnd => (2, Bytes::new()),
            Self::Err(bytes) => (2, bytes.clone()),
            Self::Resize(size) => (3, json(serde_json::to_vec(size))),
            Self::Ended(ended) => (3, json(serde_json::to_vec(ended))),
        };
        let mut all = BytesMut::with_capacity(body.len() + HEAD);
        let mut pieces: Vec<&[u8]> = body.chunks(LARGEST).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        for piece in pieces {
            all.extend_from_slice(&[kind]);
            all.extend_from_slice(&(piece.len() as u32).to_be_bytes());
            all.extend_from_slice(piece);
        }
        all.freeze()
    }

    fn read(way: Way, kind: u8, body: Bytes) -> Result<Self, FrameError> {
        let unreadable = |_| FrameError::Unreadable(kind);
        Ok(match (way, kind) {
            (Way::In, 0) => Self::Start(serde_json::from_slice(&body).map_err(unreadable)?),
            (Way::In, 1) => Self::Input(body),
            (Way::In, 2) => Self::InputEnd,
            (Way::In, 3) => Self::Resize(serde_json::from_slice(&body).map_err(unreadable)?),
            (Way::Out, 1) => Self::Out(body),
            (Way::Out, 2) => Self::Err(body),
            (Way::Out, 3) => Self::Ended(serde_json::from_slice(&body).map_err(unreadable)?),
            _ => return Err(FrameError::Unreadable(kind)),
        })
    }
}

/// Makes frames of bytes, however those are cut.
#[derive(Debug)]
pub struct Reader {
    way: Way,
    buffer: BytesMut,
}

impl Reader {
    /// A reader of frames that go this way.
    pub fn new(way: Way) -> Self {
        Self { way, buffer: BytesMut::new() }
    }

    /// More bytes came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame. After an error nothing more can be read.
    pub fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(&[kind, a, b, c, d]) = self.buffer.first_chunk::<HEAD>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > LARGEST {
            return Err(FrameError::Long(length));
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let body = self.buffer.split_to(length).freeze();
        Frame::read(self.way, kind, body).map(Some)
    }

    /// No more bytes come.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.buffer.is_empty() { Ok(()) } else { Err(FrameError::Broken) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(way: Way, bytes: &[u8], cut: usize) -> Result<Vec<Frame>, FrameError> {
        let mut reader = Reader::new(way);
        let mut all = Vec::new();
        for piece in bytes.chunks(cut) {
            reader.push(piece);
            while let Some(frame) = reader.frame()? {
                all.push(frame);
            }
        }
        reader.finish().map(|()| all)
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let size = Size { rows: 24, columns: 80 };
        let start = Start { command: vec!["sh".into(), "-c".into()], terminal: Some(size) };
        let to = [
            Frame::Start(start),
            Frame::Input(Bytes::from_static(b"x\0y")),
            Frame::Resize(size),
            Frame::InputEnd,
        ];
        let ended = Ended { code: Some(3), why: None };
        let from = [
            Frame::Out(Bytes::from_static(b"a")),
            Frame::Err(Bytes::from_static(b"b")),
            Frame::Out(Bytes::new()),
            Frame::Ended(ended),
        ];
        for (way, frames) in [(Way::In, to), (Way::Out, from)] {
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().to_vec()).collect();
            for cut in [1, 3, bytes.len()] {
                assert_eq!(read(way, &bytes, cut), Ok(frames.to_vec()), "{way:?} {cut}");
            }
            assert_eq!(read(way, &bytes[..bytes.len() - 1], 7), Err(FrameError::Broken));
        }
    }

    #[test]
    fn what_is_long_becomes_several() {
        let long = Bytes::from(vec![7; LARGEST + 1]);
        let frames = read(Way::Out, &Frame::Out(long).encode(), 9999);
        let lengths = frames.map(|frames| {
            let length = |frame: &Frame| if let Frame::Out(bytes) = frame { bytes.len() } else { 0 };
            frames.iter().map(length).collect::<Vec<_>>()
        });
        assert_eq!(lengths, Ok(vec![LARGEST, 1]));
    }

    #[test]
    fn what_is_none_is_refused() {
        assert_eq!(read(Way::In, &[1, 0, 1, 0, 1], 5), Err(FrameError::Long(LARGEST + 1)));
        assert_eq!(read(Way::In, &[9, 0, 0, 0, 0], 5), Err(FrameError::Unreadable(9)));
        assert_eq!(read(Way::Out, &[0, 0, 0, 0, 0], 5), Err(FrameError::Unreadable(0)));
        assert_eq!(read(Way::In, &[0, 0, 0, 0, 1, b'{'], 6), Err(FrameError::Unreadable(0)));
    }
}
