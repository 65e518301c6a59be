//! An answer that comes line by line (`application/x-ndjson`): deploys and followed logs.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::client::ClientError;
use crate::client::transport::AnswerBody;

/// The lines of an answer, as they come.
pub struct Lines {
    pub(super) target: String,
    pub(super) body: AnswerBody,
    pub(super) buffer: BytesMut,
    pub(super) ended: bool,
}

impl Lines {
    /// The next line that is not empty; `None` when the server ended the answer.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(line) = self.buffered() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.ended {
                return Ok(None);
            }
            self.fill().await?;
        }
    }

    fn buffered(&mut self) -> Option<Bytes> {
        if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
            let line = self.buffer.split_to(end).freeze();
            self.buffer.advance(1);
            return Some(line);
        }
        (self.ended && !self.buffer.is_empty()).then(|| self.buffer.split().freeze())
    }

    async fn fill(&mut self) -> Result<(), ClientError> {
        match self.body.frame().await {
            None => self.ended = true,
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.buffer.extend_from_slice(data);
                }
            }
            Some(Err(source)) => return Err(ClientError::Broken { target: self.target.clone(), source }),
        }
        Ok(())
    }
}
