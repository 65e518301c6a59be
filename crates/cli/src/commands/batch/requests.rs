//! Requests of a batch from a file of JSON lines, and as many of them in one call as it may have. What is JSON stays as
//! it was written.

use std::io::Read as _;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::errors::Failure;

/// The most requests in one call: it is one transaction of the server's.
const MOST: usize = 1_000;

/// A call with so many bytes of requests gets no further one; the server takes 10 MiB.
const FULL: usize = 4 << 20;

/// The requests of a file, or of stdin (`-`).
pub fn read(file: &str) -> anyhow::Result<Vec<String>> {
    let mut bytes = Vec::new();
    if file == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(file)
            .map_err(|e| Failure::usage(format!("cannot read '{file}'")).cause(e.to_string()))?;
    }
    let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("'{file}' is not UTF-8")))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| request(at + 1, line)).collect()
}

/// An object that has the key `input` is a whole request, as with `run`; anything else is the input.
fn request(number: usize, line: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Request {
        #[serde(rename = "input")]
        _input: IgnoredAny,
    }
    let json: &RawValue = serde_json::from_str(line).map_err(|e| {
        Failure::usage(format!("line {number} is not valid JSON"))
            .cause(e.to_string())
            .hint("one request on each line: {\"prompt\": \"a red boat\"}, or {\"input\": …, \"policy\": …}")
    })?;
    let is_request = json.get().starts_with('{') && serde_json::from_str::<Request>(json.get()).is_ok();
    Ok(if is_request { json.get().to_owned() } else { format!("{{\"input\":{}}}", json.get()) })
}

/// The bodies of the calls that bring all of these: one, without requests, where there are none.
pub fn bodies(requests: &[String]) -> Vec<String> {
    let mut bodies = vec![String::new()];
    let mut count = 0;
    for request in requests {
        let full = |body: &String| count == MOST || body.len() + request.len() > FULL;
        if bodies.last().is_some_and(|body| !body.is_empty() && full(body)) {
            bodies.push(String::new());
            count = 0;
        }
        if let Some(body) = bodies.last_mut() {
            if !body.is_empty() {
                body.push(',');
            }
            body.push_str(request);
            count += 1;
        }
    }
    bodies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_request_or_an_input() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("requests.jsonl");
        std::fs::write(&file, "{\"input\": {\"a\":1.0}}\n\n{\"a\": [\"input\"]}\n7\n")
            .expect("it is written");
        let read_all = || read(file.to_str().expect("UTF-8"));
        let expected = ["{\"input\": {\"a\":1.0}}", "{\"input\":{\"a\": [\"input\"]}}", "{\"input\":7}"];
        assert_eq!(read_all().expect("valid lines"), expected);
        std::fs::write(&file, "1\n{\"a\": 1,}\n").expect("it is written");
        assert_eq!(read_all().expect_err("a comma").to_string(), "line 2 is not valid JSON");
    }

    #[test]
    fn calls_hold_so_many_requests_and_so_many_bytes() {
        assert_eq!(bodies(&[]), [""]);
        let small = vec!["{}".to_owned(); MOST + 1];
        assert_eq!(bodies(&small).iter().map(String::len).collect::<Vec<_>>(), [3 * MOST - 1, 2]);
        let large = vec!["x".repeat(FULL / 2 + 1); 3];
        assert_eq!(bodies(&large).len(), 3);
        assert_eq!(bodies(&["x".repeat(2 * FULL)]).len(), 1, "the server says that it is too large");
    }
}
