//! The test requests that come with the code: `.runpod/tests.json`, RunPod's Hub format, else
//! `test_input.json`, the SDK's. A release runs them before it gets traffic.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::read;

/// Where RunPod's Hub looks for tests.
const HUB_TESTS: &str = ".runpod/tests.json";

/// What the SDK runs when a handler is started by hand.
const TEST_INPUT: &str = "test_input.json";

/// One request to try a release with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCase {
    /// Its name, for messages.
    pub name: String,
    /// The job's input: JSON text as written in the file.
    pub input: String,
    /// How long it may run, where the file says.
    pub timeout_ms: Option<u64>,
}

/// Why the tests could not be read.
#[derive(Debug, Error)]
pub enum CasesError {
    /// The file is not what it should be.
    #[error("{file}: line {line}, column {column}: {problem}.")]
    Malformed {
        /// Which file.
        file: &'static str,
        /// From 1.
        line: usize,
        /// From 1; 0 where only the line is known.
        column: usize,
        /// What is wrong.
        problem: String,
    },
    /// A test lacks its input, or has null.
    #[error("{file}: test `{name}` has no `input`; RunPod's SDK refuses a job without one.")]
    NoInput {
        /// Which file.
        file: &'static str,
        /// Which test.
        name: String,
    },
    /// The file could not be read.
    #[error("Cannot read {file}: {source}.")]
    Read {
        /// Which file.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
}

#[derive(Deserialize)]
struct HubFile<'a> {
    #[serde(borrow, default)]
    tests: Vec<HubTest<'a>>,
}

#[derive(Deserialize)]
struct HubTest<'a> {
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    timeout: Option<u64>,
}

/// The tests of a folder: of `.runpod/tests.json` if there is one, else the one of `test_input.json`, else none.
pub fn tests_of(code_dir: &Path) -> Result<Vec<TestCase>, CasesError> {
    if let Some(text) = file_of(code_dir, HUB_TESTS)? {
        return hub_tests(&text);
    }
    match file_of(code_dir, TEST_INPUT)? {
        Some(text) => Ok(vec![test_input(&text)?]),
        None => Ok(Vec::new()),
    }
}

fn file_of(dir: &Path, file: &'static str) -> Result<Option<String>, CasesError> {
    match read::text(&dir.join(file)) {
        Ok(text) => Ok(Some(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CasesError::Read { file, source }),
    }
}

/// RunPod's files hold an object with `tests`; older ones of its workers are the bare list.
fn hub_tests(text: &str) -> Result<Vec<TestCase>, CasesError> {
    let malformed = |error: serde_json::Error| malformed(HUB_TESTS, &error);
    let tests: Vec<HubTest> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(malformed)?
    } else {
        serde_json::from_str::<HubFile>(text).map_err(malformed)?.tests
    };
    tests
        .into_iter()
        .enumerate()
        .map(|(place, test)| {
            let name = test.name.unwrap_or_else(|| format!("test {}", place + 1));
            match test.input.filter(|input| input.get() != "null") {
                Some(input) => Ok(TestCase { name, input: input.get().to_owned(), timeout_ms: test.timeout }),
                None => Err(CasesError::NoInput { file: HUB_TESTS, name }),
            }
        })
        .collect()
}

/// The SDK takes the file as the job, `{"input": ...}`. People also write the bare input: an object without
/// `input` is taken as that.
fn test_input(text: &str) -> Result<TestCase, CasesError> {
    let job: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|error| malformed(TEST_INPUT, &error))?;
    let input = match job.get("input") {
        Some(input) if input.get() == "null" => {
            return Err(CasesError::NoInput { file: TEST_INPUT, name: TEST_INPUT.to_owned() });
        }
        Some(input) => input.get(),
        None => text.trim(),
    };
    Ok(TestCase { name: TEST_INPUT.to_owned(), input: input.to_owned(), timeout_ms: None })
}

fn malformed(file: &'static str, error: &serde_json::Error) -> CasesError {
    // The place is in fields of its own, so that it is cut from the text.
    let text = error.to_string();
    let problem = text.split(" at line ").next().unwrap_or(&text).to_owned();
    CasesError::Malformed { file, line: error.line(), column: error.column(), problem }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn cases(file: &str, text: &str) -> Result<Vec<TestCase>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        tests_of(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn hub_tests_are_read_in_order() {
        let text = r#"{"tests": [{"name": "a", "input": {"x":  1.0}, "timeout": 5000}, {"input": [2]}], "config": {"gpuCount": 1}}"#;
        let tests = cases(HUB_TESTS, text).unwrap();
        assert_eq!(
            tests[0],
            TestCase { name: "a".into(), input: "{\"x\":  1.0}".into(), timeout_ms: Some(5000) }
        );
        assert_eq!(tests[1], TestCase { name: "test 2".into(), input: "[2]".into(), timeout_ms: None });
        assert_eq!(cases(HUB_TESTS, r#"[{"input": 1}]"#).unwrap().len(), 1);
        assert_eq!(cases(HUB_TESTS, "{}").unwrap(), []);
    }

    #[test]
    fn test_input_is_the_job_or_the_input() {
        assert_eq!(
            cases(TEST_INPUT, "\u{feff}{\"input\": {\"a\": 1}, \"id\": \"x\"}").unwrap()[0].input,
            "{\"a\": 1}"
        );
        assert_eq!(cases(TEST_INPUT, " {\"a\": 1}\n").unwrap()[0].input, "{\"a\": 1}");
        assert_eq!(cases("other.json", "{}").unwrap(), []);
    }

    #[test]
    fn mistakes_say_where() {
        assert_eq!(
            cases(TEST_INPUT, "{\n  \"input\": {,}\n}").unwrap_err(),
            "test_input.json: line 2, column 13: key must be a string."
        );
        assert!(cases(TEST_INPUT, "[1]").unwrap_err().starts_with("test_input.json: line 1, column"));
        assert!(
            cases(HUB_TESTS, r#"{"tests": [{"name": "n", "input": null}]}"#)
                .unwrap_err()
                .contains("test `n`")
        );
        assert!(
            cases(HUB_TESTS, r#"{"tests": [{"input": 1, "timeout": "x"}]}"#).unwrap_err().contains("line 1")
        );
    }
}
