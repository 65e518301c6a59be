//! Strict bodies: what a call does not have is refused, and everything that is wrong with one is told at once, each
//! with its place (`$.gpu.count`), in one problem document.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use axum::extract::{FromRequest, Request};
use serde_json::{Map, Value};

use crate::problem::Problem;

/// The largest body, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// How many mistakes are told.
const MOST_ERRORS: usize = 20;

/// The longest name of a thing, in bytes: as long as RunPod's.
const LONGEST_NAME: usize = 191;

/// A body as it came. It is read once the caller is known to be allowed what it asks for.
pub(crate) struct Raw(Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY).await;
        let bytes = bytes.map_err(|_| Problem::invalid("the body is larger than 1 MiB or broke off"))?;
        Ok(Self(bytes.to_vec()))
    }
}

impl Raw {
    /// What it says, as `parse` reads it. 400 where it is no JSON, 422 with every mistake where it is another thing
    /// than the call takes.
    pub(super) fn read<T>(&self, parse: impl FnOnce(&Object<'_>) -> Option<T>) -> Result<T, Problem> {
        read(&self.0, parse)
    }
}

/// [`Raw::read`] of these bytes.
pub(crate) fn read<T>(text: &[u8], parse: impl FnOnce(&Object<'_>) -> Option<T>) -> Result<T, Problem> {
    let value: Value = serde_json::from_slice(text)
        .map_err(|error| Problem::invalid(format!("the body is not JSON: {error}")))?;
    let mistakes = Mistakes::default();
    let parsed = if let Value::Object(map) = &value {
        let object = Object::new(map, "$".to_owned(), &mistakes);
        let parsed = parse(&object);
        object.end();
        parsed
    } else {
        mistakes.add("$", "must be an object");
        None
    };
    match (mistakes.0.into_inner(), parsed) {
        (mistakes, Some(parsed)) if mistakes.is_empty() => Ok(parsed),
        (mistakes, _) => Err(Problem::unprocessable(mistakes)),
    }
}

/// What is wrong, in words.
#[derive(Default)]
struct Mistakes(RefCell<Vec<String>>);

impl Mistakes {
    fn add(&self, place: &str, what: &str) {
        let mut all = self.0.borrow_mut();
        if all.len() < MOST_ERRORS {
            all.push(format!("{place}: {what}"));
        }
    }
}

/// One object of a body. Each getter answers nothing where the field is not there, or is wrong, which is noted.
pub(crate) struct Object<'a> {
    map: &'a Map<String, Value>,
    place: String,
    known: RefCell<Vec<&'static str>>,
    mistakes: &'a Mistakes,
}

impl<'a> Object<'a> {
    fn new(map: &'a Map<String, Value>, place: String, mistakes: &'a Mistakes) -> Self {
        Self { map, place, known: RefCell::default(), mistakes }
    }

    /// Notes the fields that nobody asked for.
    pub(crate) fn end(&self) {
        let known = self.known.borrow();
        for name in self.map.keys().filter(|name| !known.contains(&name.as_str())) {
            let name: String = name.chars().take(60).collect();
            self.wrong(&format!("additional property '{name}' is not allowed"));
        }
    }

    /// Notes a mistake of the whole object.
    pub(crate) fn wrong(&self, what: &str) {
        self.mistakes.add(&self.place, what);
    }

    fn place_of(&self, name: &str) -> String {
        format!("{}.{name}", self.place)
    }

    fn wrong_at(&self, name: &str, what: &str) {
        self.mistakes.add(&self.place_of(name), what);
    }

    /// Whether it is there, whatever it is.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    fn get(&self, name: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().push(name);
        self.map.get(name)
    }

    /// What must be there.
    pub(crate) fn required<T>(&self, name: &'static str, value: Option<T>) -> Option<T> {
        if !self.has(name) {
            self.wrong(&format!("missing property '{name}'"));
        }
        value
    }

    fn typed<T>(
        &self,
        name: &'static str,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(name)?;
        let read = read(value);
        if read.is_none() {
            self.wrong_at(name, &format!("must be {what}"));
        }
        read
    }

    /// A text.
    pub(crate) fn text(&self, name: &'static str) -> Option<String> {
        self.typed(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A text that says something.
    pub(crate) fn name(&self, name: &'static str) -> Option<String> {
        let what = format!("a string of 1 to {LONGEST_NAME} bytes");
        let fits = |text: &str| (1..=LONGEST_NAME).contains(&text.len());
        self.typed(name, &what, |value| value.as_str().filter(|text| fits(text)).map(str::to_owned))
    }

    /// A text that fits; `what` says which do.
    pub(crate) fn text_like(
        &self,
        name: &'static str,
        what: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Option<String> {
        self.typed(name, what, |value| value.as_str().filter(|text| fits(text)).map(str::to_owned))
    }

    /// A text, or null.
    #[expect(clippy::option_option, reason = "not said, null, and a value are three things")]
    pub(crate) fn nullable(&self, name: &'static str) -> Option<Option<String>> {
        self.typed(name, "a string or null", |value| match value {
            Value::Null => Some(None),
            value => value.as_str().map(|text| Some(text.to_owned())),
        })
    }

    /// A whole number within these bounds; `3.0` is one too.
    pub(crate) fn whole(&self, name: &'static str, bounds: RangeInclusive<i64>) -> Option<i64> {
        let what = match (bounds.start(), bounds.end()) {
            (least, &i64::MAX) => format!("an integer of at least {least}"),
            (least, most) => format!("an integer from {least} to {most}"),
        };
        self.typed(name, &what, |value| whole(value).filter(|number| bounds.contains(number)))
    }

    /// A number.
    pub(crate) fn number(&self, name: &'static str, least: f64) -> Option<f64> {
        let what = format!("a number of at least {least}");
        self.typed(name, &what, |value| value.as_f64().filter(|number| *number >= least))
    }

    /// Yes or no.
    pub(crate) fn flag(&self, name: &'static str) -> Option<bool> {
        self.typed(name, "a boolean", Value::as_bool)
    }

    /// One of these words.
    pub(crate) fn word<T: Copy>(&self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let what = format!("one of {}", all.join(", "));
        self.typed(name, &what, |value| {
            let text = value.as_str()?;
            words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
        })
    }

    /// Texts that fit; `what` says which do.
    pub(crate) fn texts(
        &self,
        name: &'static str,
        what: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Option<Vec<String>> {
        self.typed(name, &format!("an array, each of which is {what}"), |value| {
            let all = value.as_array()?.iter();
            all.map(|item| item.as_str().filter(|text| fits(text)).map(str::to_owned)).collect()
        })
    }

    /// Texts by name.
    pub(crate) fn dictionary(&self, name: &'static str) -> Option<BTreeMap<String, String>> {
        self.typed(name, "an object of strings", |value| {
            let all = value.as_object()?.iter();
            all.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        })
    }

    /// An object in it, as `parse` reads it.
    pub(crate) fn object<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&Object<'_>) -> Option<T>,
    ) -> Option<T> {
        let map = self.typed(name, "an object", Value::as_object)?;
        let object = Object::new(map, self.place_of(name), self.mistakes);
        let parsed = parse(&object);
        object.end();
        parsed
    }

    /// Objects in it.
    pub(crate) fn objects<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&Object<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let all = self.typed(name, "an array of objects", |value| {
            let all = value.as_array()?.iter();
            all.map(Value::as_object).collect::<Option<Vec<_>>>()
        })?;
        let read = |(at, map)| {
            let object = Object::new(map, format!("{}[{at}]", self.place_of(name)), self.mistakes);
            let parsed = parse(&object);
            object.end();
            parsed
        };
        all.into_iter().enumerate().map(read).collect()
    }
}

/// A whole number as JSON Schema understands it.
fn whole(value: &Value) -> Option<i64> {
    let exact = |number: &f64| number.fract() == 0.0 && number.abs() < 9e15;
    value.as_i64().or_else(|| value.as_f64().filter(exact).map(|number| number as i64))
}

/// Whether this is a version as `12.8`.
pub(super) fn is_version(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.').is_some_and(|(major, minor)| digits(major) && digits(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Vec<String> {
        let parse = |body: &Object<'_>| {
            let gpu = body.object("gpu", |gpu| gpu.whole("count", 1..=8));
            let all = body.objects("cpu", |cpu| cpu.required("id", cpu.name("id")));
            let name = body.required("name", body.name("name"));
            let _ = (gpu, all, body.flag("locked"), body.number("delay", 0.5));
            name
        };
        match read(text.as_bytes(), parse) {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors().to_vec(),
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        assert!(wrong(r#"{"name": "n", "gpu": {"count": 2.0}, "delay": 1}"#).is_empty());
        let all =
            wrong(r#"{"gpu": {"count": 9, "x": 1}, "cpu": [{"id": "a"}, {}], "locked": "true", "nmae": 1}"#);
        let expected = [
            "$.gpu.count: must be an integer from 1 to 8",
            "$.gpu: additional property 'x' is not allowed",
            "$.cpu[1]: missing property 'id'",
            "$: missing property 'name'",
            "$.locked: must be a boolean",
            "$: additional property 'nmae' is not allowed",
        ];
        assert_eq!(all, expected);
        assert_eq!(wrong("[1]"), ["$: must be an object"]);
    }
}
