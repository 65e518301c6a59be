//! A Python exception as the SDK reports it: its type, its message, and the line of the user's own code that
//! it came from.

use runyard_domain::FailReason;
use runyard_domain::reason::said::{exception_line, frame};
use serde::Deserialize;

/// What the SDK (1.x) puts as JSON into the text of `error`.
#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "error_type")]
    kind: String,
    #[serde(rename = "error_message", default)]
    message: String,
    #[serde(rename = "error_traceback", default)]
    traceback: String,
}

/// The exception in an `error` text, where there is one: the JSON of a handler's, or the
/// `handler: … \ntraceback: …` of a generator's.
pub(crate) fn exception(error: &str) -> Option<FailReason> {
    if let Ok(wire) = serde_json::from_str::<Wire>(error) {
        return Some(reason(type_name(&wire.kind), wire.message, &wire.traceback));
    }
    let (message, traceback) = error.strip_prefix("handler: ")?.split_once("\ntraceback: ")?;
    let line = exception_line(traceback).unwrap_or(traceback.trim_end());
    let kind = line.split(':').next().unwrap_or(line);
    Some(reason(short(kind), message.trim_end().to_owned(), traceback))
}

fn reason(kind: String, message: String, traceback: &str) -> FailReason {
    // A message of several lines may look like a frame itself.
    let frames = traceback.trim_end().strip_suffix(message.trim_end()).unwrap_or(traceback);
    let (file, line) = frame(frames).unzip();
    FailReason::HandlerException { kind, message, file, line }
}

/// `ValueError` of `<class 'ValueError'>` or `<class 'my.module.ValueError'>`.
fn type_name(text: &str) -> String {
    let inner = text.strip_prefix("<class '").and_then(|rest| rest.strip_suffix("'>")).unwrap_or(text);
    short(inner)
}

/// The last part of a dotted name.
fn short(name: &str) -> String {
    name.trim().rsplit('.').next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(kind: &str, message: &str, traceback: &str) -> String {
        serde_json::json!({"error_type": kind, "error_message": message, "error_traceback": traceback,
            "hostname": "unknown", "worker_id": "w", "runpod_version": "1.12.0"})
        .to_string()
    }

    fn found(error: &str) -> Option<(String, String, Option<String>, Option<u32>)> {
        match exception(error)? {
            FailReason::HandlerException { kind, message, file, line } => Some((kind, message, file, line)),
            _ => None,
        }
    }

    #[test]
    fn the_line_is_the_users_own() {
        let traceback = "Traceback (most recent call last):\n  File \"/env/lib/python3.11/site-packages/runpod/serverless/modules/rp_job.py\", line 250, in run_job\n    handler_return = handler(job)\n                     ^^^^^^^^^^^^\n  File \"/code/handler.py\", line 7, in handler\n    return parse(job)\n  File \"/code/lib/parse.py\", line 3, in parse\n    return json.loads(job)\n  File \"/usr/lib/python3.11/json/decoder.py\", line 355, in raw_decode\n    raise JSONDecodeError(\"Expecting value\", s, err.value) from None\njson.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\n";
        let error = wire("<class 'json.decoder.JSONDecodeError'>", "Expecting value: line 1", traceback);
        let expected = (
            "JSONDecodeError".into(),
            "Expecting value: line 1".into(),
            Some("/code/lib/parse.py".into()),
            Some(3),
        );
        assert_eq!(found(&error), Some(expected));
    }

    #[test]
    fn of_a_chain_the_last_exception_counts() {
        let traceback = "Traceback (most recent call last):\n  File \"/code/a.py\", line 1, in f\nKeyError: 'x'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"/code/b.py\", line 2, in g\nValueError: y\n";
        let (_, _, file, line) = found(&wire("<class 'ValueError'>", "y", traceback)).expect("an exception");
        assert_eq!((file.as_deref(), line), (Some("/code/b.py"), Some(2)));
    }

    #[test]
    fn generators_report_in_words() {
        let error = "handler: list index out of range \ntraceback: Traceback (most recent call last):\n  File \"/env/lib/python3.11/site-packages/runpod/serverless/modules/rp_job.py\", line 328, in run_job_generator\n    for output_partial in job_output:\n  File \"/code/handler.py\", line 4, in handler\n    yield [][1]\nIndexError: list index out of range\n";
        let expected =
            ("IndexError".into(), "list index out of range".into(), Some("/code/handler.py".into()), Some(4));
        assert_eq!(found(error), Some(expected));
    }

    #[test]
    fn a_message_that_looks_like_a_traceback_is_none() {
        let message = "line one\nline two\n  File \"fake.py\", line 99\nred";
        let traceback = format!(
            "Traceback (most recent call last):\n  File \"/code/handler.py\", line 86, in handler\n    raise ValueError(text)\nValueError: {message}\n"
        );
        let place = |error: &str| found(error).map(|(kind, _, file, line)| (kind, file, line));
        let expected = Some(("ValueError".to_owned(), Some("/code/handler.py".to_owned()), Some(86)));
        assert_eq!(place(&wire("<class 'ValueError'>", message, &traceback)), expected);
        assert_eq!(place(&format!("handler: {message} \ntraceback: {traceback}")), expected);
    }

    #[test]
    fn words_are_no_exception() {
        for error in ["soft", "{\"code\": 1}", "handler: x", "", "{\"error_type\": 1}"] {
            assert_eq!(found(error), None, "{error}");
        }
        let bare = found(&wire("<class 'X'>", "m", "")).expect("an exception");
        assert_eq!(bare, ("X".into(), "m".into(), None, None));
    }
}
