//! What clients send about batches: `[{"input":…}, …]`, or `{"requests":[…], "name":…}`. Each request is what `/run`
//! takes, and is checked like that.

use bytes::Bytes;
use runyard_domain::batch::MAX_NAME;
use serde_json::value::RawValue;

use super::request::{self, BadBody, Submission};
use crate::json::{Malformed, pick};

/// Requests, and the name of a new batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Requests<T> {
    /// What the batch is called.
    pub(crate) name: Option<String>,
    /// In the order in which they came.
    pub(crate) jobs: Vec<T>,
}

/// Reads requests; an empty body has none.
pub(crate) fn requests(body: &Bytes) -> Result<Requests<Submission>, BadBody> {
    let text = match request::json(body) {
        Err(BadBody::Empty) => return Ok(Requests { name: None, jobs: Vec::new() }),
        other => other?,
    };
    let malformed = |error| BadBody::Malformed(Malformed::locate(text, &error));
    let (name, list) = if text.trim_start().starts_with('[') {
        (None, text)
    } else {
        let [requests, name] = pick(request::object(body)?, ["requests", "name"]).map_err(malformed)?;
        (read_name(name)?, requests.map_or("[]", RawValue::get))
    };
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(list) else {
        serde_json::from_str::<&RawValue>(text).map_err(malformed)?;
        let found = list.chars().take(60).collect();
        return Err(BadBody::Field { field: "requests", found, allowed: "an array of requests" });
    };
    let read = |(at, item): (usize, &&RawValue)| {
        let item = body.slice_ref(item.get().as_bytes());
        request::parse(&item).map_err(|error| BadBody::Request(at, Box::new(error)))
    };
    Ok(Requests { name, jobs: items.iter().enumerate().map(read).collect::<Result<_, _>>()? })
}

/// Reads a new name; null takes it away.
pub(crate) fn name(body: &Bytes) -> Result<Option<String>, BadBody> {
    let text = request::object(body)?;
    let [name] = pick(text, ["name"]).map_err(|error| BadBody::Malformed(Malformed::locate(text, &error)))?;
    if name.is_none() {
        let allowed = "there: it is what can be changed, a text or null";
        return Err(BadBody::Field { field: "name", found: "missing".to_owned(), allowed });
    }
    read_name(name)
}

fn read_name(raw: Option<&RawValue>) -> Result<Option<String>, BadBody> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Ok(None) };
    let name = serde_json::from_str::<String>(raw.get()).ok();
    let fits = |name: &String| name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    name.filter(fits).map(Some).ok_or_else(|| BadBody::Field {
        field: "name",
        found: raw.get().chars().take(60).collect(),
        allowed: "a text of at most 200 characters, none of them a control character",
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let read = requests(&Bytes::copy_from_slice(text.as_bytes())).map_err(|error| error.to_string())?;
        let text = |job: &Submission| String::from_utf8(job.input.to_vec()).unwrap();
        Ok(read.name.iter().cloned().chain(read.jobs.iter().map(text)).collect())
    }

    #[test]
    fn lists_and_objects_are_read() {
        assert_eq!(read(" "), Ok(vec![]));
        assert_eq!(read("[]"), Ok(vec![]));
        assert_eq!(read("{}"), Ok(vec![]));
        assert_eq!(
            read("[{\"input\": {\"a\":  1}}, {\"input\":null}]"),
            Ok(vec!["{\"a\":  1}".into(), "null".into()])
        );
        let named = read("{\"name\":\"n\",\"requests\":[{\"input\":2.50}]}");
        assert_eq!(named, Ok(vec!["n".into(), "2.50".into()]));
    }

    #[test]
    fn a_bad_request_is_named_by_its_place() {
        for (text, part) in [
            ("[{\"input\":1},{}]", "request 1 (counted from 0): the body has no 'input'"),
            ("[1]", "request 0"),
            ("{\"requests\":{}}", "'requests' is {}; it must be an array"),
            ("[{\"input\":1},]", "trailing comma"),
            ("7", "a number"),
            ("{\"name\":7}", "'name' is 7"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
