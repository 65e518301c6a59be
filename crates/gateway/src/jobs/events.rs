//! Server-sent events out of what a worker yields. Its texts are events already, cut anywhere, and are passed on as
//! they are, but never half an event: no client can read one, and after half an event an error could not be told.

use bytes::Bytes;

/// What was yielded and not yet sent: the beginning of an event.
#[derive(Debug, Default)]
pub(super) struct Events {
    held: String,
}

impl Events {
    /// Takes yielded values, texts as they are and anything else as one event each; says what can be sent now.
    pub(super) fn add(&mut self, values: &[Bytes]) -> Bytes {
        for value in values {
            if let Ok(text) = serde_json::from_slice::<String>(value) {
                self.held.push_str(&text);
            } else {
                self.held.push_str("data: ");
                self.held.push_str(&String::from_utf8_lossy(value));
                self.held.push_str("\n\n");
            }
        }
        let whole = self.held.len() - open(&self.held).len();
        self.held.drain(..whole).collect::<String>().into()
    }

    /// What was not ended when the job was.
    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held).into()
    }
}

/// The event at the end of `text` that is not over. Text that is no event is nothing to wait for.
fn open(text: &str) -> &str {
    let ends = ["\n\n", "\n\r\n"].map(|end| text.rfind(end).map_or(0, |at| at + end.len()));
    let tail = &text[ends[0].max(ends[1])..];
    let is_event = ["data:", "event:", "id:"].iter().any(|f| tail.starts_with(f) || f.starts_with(tail));
    if is_event { tail } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pieces: &[&str]) -> Vec<String> {
        let mut events = Events::default();
        let mut sent: Vec<Bytes> =
            pieces.iter().map(|piece| events.add(&[Bytes::copy_from_slice(piece.as_bytes())])).collect();
        sent.push(events.rest());
        sent.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    #[test]
    fn events_are_sent_whole() {
        let cut = [r#""data: 1\n\nda""#, r#""ta: 2\n""#, r#""\ndata: 3\r\n\r""#, r#""\n""#];
        assert_eq!(sent(&cut), ["data: 1\n\n", "", "data: 2\n\n", "data: 3\r\n\r\n", ""]);
        assert_eq!(sent(&[r#""data: [DO""#, r#""NE]""#]), ["", "", "data: [DONE]"]);
    }

    #[test]
    fn what_is_no_event_is_sent_at_once() {
        assert_eq!(sent(&[r#""hello ""#, r#""you""#]), ["hello ", "you", ""]);
        assert_eq!(sent(&[r#"{"a":1}"#, "2"]), ["data: {\"a\":1}\n\n", "data: 2\n\n", ""]);
    }
}
