//! A Python exception as the SDK reports it: its type, its message, and the line of the user's own code that
//! it came from.

use runyard_domain::FailReason;
use serde::Deserialize;

/// The first line of each traceback in a text.
const HEAD: &str = "Traceback (most recent call last):";

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
    let last = traceback.trim_end().lines().rfind(|line| !line.starts_with(' '))?;
    let kind = last.split(':').next().unwrap_or(last);
    Some(reason(short(kind), message.trim_end().to_owned(), traceback))
}

fn reason(kind: String, message: String, traceback: &str) -> FailReason {
    let (file, line) = frame(traceback).unzip();
    let file = file.map(|file| as_deployed(&file).to_owned());
    FailReason::HandlerException { kind, message, file, line }
}

/// `ValueError` of `<class 'ValueError'>` or `<class 'my.module.ValueError'>`.
fn type_name(text: &str) -> String {
    let inner = text.strip_prefix("<class '").and_then(|rest| rest.strip_suffix("'>")).unwrap_or(text);
    short(inner)
}

/// The file as its author knows it: below the deployed folder, not below where the server unpacked it.
fn as_deployed(file: &str) -> &str {
    let Some((_, rest)) = file.split_once("/bundles/") else { return file };
    let digest = |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    rest.split_once('/').filter(|(name, _)| digest(name)).map_or(file, |(_, own)| own)
}

/// The last part of a dotted name.
fn short(name: &str) -> String {
    name.trim().rsplit('.').next().unwrap_or(name).to_owned()
}

/// The innermost frame of the user's own code, of the exception that was raised last.
fn frame(traceback: &str) -> Option<(String, u32)> {
    let mut blocks: Vec<&str> = traceback.split(HEAD).collect();
    blocks.reverse();
    blocks
        .into_iter()
        .find_map(|block| block.lines().rev().filter_map(parse_frame).find(|(file, _)| is_own(file)))
}

/// `  File "/app/handler.py", line 12, in handler`.
fn parse_frame(line: &str) -> Option<(String, u32)> {
    let (file, rest) = line.trim_start().strip_prefix("File \"")?.split_once("\", line ")?;
    let digits: &str = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((file.to_owned(), digits.parse().ok()?))
}

/// Whether a file is neither installed by a package manager nor part of Python.
fn is_own(file: &str) -> bool {
    let foreign = ["/site-packages/", "/dist-packages/", "/lib/python", "/lib64/python"];
    !file.starts_with('<') && !foreign.iter().any(|part| file.contains(part))
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
    fn words_are_no_exception() {
        for error in ["soft", "{\"code\": 1}", "handler: x", "", "{\"error_type\": 1}"] {
            assert_eq!(found(error), None, "{error}");
        }
        let bare = found(&wire("<class 'X'>", "m", "")).expect("an exception");
        assert_eq!(bare, ("X".into(), "m".into(), None, None));
    }
}
