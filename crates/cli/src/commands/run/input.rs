//! The body of a request, from `-i` and `-d`. What is JSON already stays as it was written: numbers keep their
//! digits and objects their order.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::errors::Failure;

/// The body of `POST /v2/{endpoint}/run`.
pub fn request(pairs: &[String], data: Option<&str>) -> anyhow::Result<String> {
    match data {
        Some(data) => whole(&read_data(data)?),
        None => Ok(format!("{{\"input\":{}}}", from_pairs(pairs)?)),
    }
}

/// A document that has the key `input` is a whole request, as RunPod's clients take it; any other is the input.
fn whole(text: &str) -> anyhow::Result<String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| not_json(&e))?;
    if value.as_object().is_some_and(|object| object.contains_key("input")) {
        return Ok(text.to_owned());
    }
    Ok(format!("{{\"input\":{}}}", text.trim()))
}

fn not_json(error: &serde_json::Error) -> Failure {
    Failure::usage("the input is not valid JSON").cause(error.to_string())
}

fn read_data(data: &str) -> anyhow::Result<String> {
    let bytes = match data.strip_prefix('@') {
        Some(file) => read_file(file)?,
        None if data == "-" => {
            let mut bytes = Vec::new();
            std::io::stdin().lock().read_to_end(&mut bytes)?;
            bytes
        }
        None => return Ok(data.to_owned()),
    };
    String::from_utf8(bytes)
        .map_err(|_| Failure::usage("the input is not valid JSON: it is not UTF-8").into())
}

fn from_pairs(pairs: &[String]) -> anyhow::Result<String> {
    let mut names: Vec<&str> = Vec::new();
    let mut members = Vec::new();
    for pair in pairs {
        let (name, value) = split(pair)?;
        if names.contains(&name) {
            return Err(Failure::usage(format!("'{name}' is given twice")).into());
        }
        names.push(name);
        members.push(format!("{}:{}", quote(name), value_of(value)?));
    }
    Ok(format!("{{{}}}", members.join(",")))
}

fn split(pair: &str) -> Result<(&str, &str), Failure> {
    pair.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Failure::usage(format!("'{pair}' is not KEY=VALUE")).hint("-i prompt=\"a red boat\""))
}

/// The value as JSON text.
fn value_of(value: &str) -> anyhow::Result<String> {
    if let Some(rest) = value.strip_prefix("@@") {
        return Ok(quote(&format!("@{rest}")));
    }
    if let Some(file) = value.strip_prefix('@') {
        let bytes = read_file(file)?;
        return Ok(quote(&String::from_utf8(bytes).unwrap_or_else(|e| STANDARD.encode(e.as_bytes()))));
    }
    match serde_json::from_str::<&RawValue>(value) {
        Ok(json) => Ok(json.get().to_owned()),
        Err(_) => Ok(quote(value)),
    }
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn read_file(file: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file)
        .map_err(|e| Failure::usage(format!("cannot read '{file}'")).cause(e.to_string()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(given: &[&str]) -> String {
        request(&given.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(), None).expect("valid pairs")
    }

    #[test]
    fn values_are_typed_when_they_are_json() {
        assert_eq!(
            pairs(&["prompt=a red boat", "seed=7", "hd=true", "big=12345678901234567890123", "l=[1, 2]"]),
            r#"{"input":{"prompt":"a red boat","seed":7,"hd":true,"big":12345678901234567890123,"l":[1, 2]}}"#
        );
        assert_eq!(
            pairs(&["a={\"b\":1}", "c=\"5\"", "d=", "e=x=y", "f=@@user"]),
            r#"{"input":{"a":{"b":1},"c":"5","d":"","e":"x=y","f":"@user"}}"#
        );
        assert_eq!(pairs(&[]), r#"{"input":{}}"#);
    }

    #[test]
    fn files_are_text_or_base64() {
        let dir = tempfile::tempdir().expect("a folder");
        let (text, binary) = (dir.path().join("t"), dir.path().join("b"));
        std::fs::write(&text, "héllo").expect("it is written");
        std::fs::write(&binary, [0xff, 0xfe, 0]).expect("it is written");
        let got = pairs(&[&format!("t=@{}", text.display()), &format!("b=@{}", binary.display())]);
        assert_eq!(got, r#"{"input":{"t":"héllo","b":"//4A"}}"#);
    }

    #[test]
    fn a_document_is_a_request_or_an_input() {
        let given = |data| request(&[], Some(data)).expect("valid JSON");
        assert_eq!(given(r#"{"input":{"x":1},"policy":{}}"#), r#"{"input":{"x":1},"policy":{}}"#);
        assert_eq!(given(r#" {"x":1.0} "#), r#"{"input":{"x":1.0}}"#);
        assert_eq!(given("[1]"), r#"{"input":[1]}"#);
    }

    #[test]
    fn what_is_wrong_is_said_before_anything_is_sent() {
        let error = |data| {
            let error = request(&[], Some(data)).expect_err("it is wrong");
            format!("{:?}", error.downcast_ref::<Failure>().expect("a failure of usage"))
        };
        assert!(error(r#"{"x":1,}"#).contains("line 1 column"));
        assert!(error("@/nowhere").contains("/nowhere"));
        for bad in [vec!["novalue"], vec!["=x"], vec!["a=1", "a=2"]] {
            let bad: Vec<String> = bad.into_iter().map(str::to_owned).collect();
            assert!(request(&bad, None).is_err(), "{bad:?}");
        }
    }
}
