//! Names of fields as people write them: one that no request has is refused and not passed over, because what it was
//! meant to say would be missed without a word.

use std::collections::BTreeMap;

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, Visitor};
use serde::forward_to_deserialize_any;

use crate::Problem;

/// Names that differ in more letters than this are not meant for one another.
const FARTHEST: usize = 3;

/// Refuses an object with a field that `T` does not have.
#[expect(
    clippy::zero_sized_map_values,
    reason = "of an object's values nothing is needed, but it is read as a map"
)]
pub(crate) fn check<T: DeserializeOwned>(text: &str) -> Result<(), Problem> {
    let known = of::<T>();
    if known.is_empty() {
        return Ok(());
    }
    // What is no object is refused with its place where it is read.
    let Ok(object) = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text) else { return Ok(()) };
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(unknown("field", name, known)),
        None => Ok(()),
    }
}

/// There is no such name; the one that was meant is told where it can be guessed.
pub(crate) fn unknown(kind: &str, name: &str, known: &[&str]) -> Problem {
    let name: String = name.chars().take(60).collect();
    let nearest = known.iter().map(|known| (distance(&name, known), known)).min();
    let all = if known.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are {}", known.join(", "))
    };
    let problem = Problem::invalid(format!("there is no {kind} '{name}'; {all}"));
    match nearest.filter(|(distance, known)| *distance <= FARTHEST.min(known.len() / 2)) {
        Some((_, known)) => problem.hint(format!("did you mean '{known}'?")),
        None => problem,
    }
}

/// How many letters have to be put in, taken out or replaced to make one name of the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (done, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], done + 1);
        for at in 0..to.len() {
            let replaced = diagonal + usize::from(to[at] != letter);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[to.len()]
}

/// The fields of a struct, as its `Deserialize` asks for them.
pub(crate) fn of<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    let _ = T::deserialize(Asked(&mut fields));
    fields
}

struct Asked<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("only the names were asked for"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("it is no struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use axum::response::IntoResponse as _;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only the names of its fields are read")]
    struct Sample {
        name: String,
        expires_in_s: Option<i64>,
    }

    async fn refused(text: &str) -> String {
        let response = check::<Sample>(text).unwrap_err().into_response();
        assert_eq!(response.status(), 400);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn an_unknown_field_is_named_with_the_one_that_was_meant() {
        for known in [r#"{"name": 1, "expiresInS": 2}"#, "{}", "[1]", "no JSON"] {
            check::<Sample>(known).unwrap();
        }
        let typo = refused(r#"{"name": "n", "expireInS": 1}"#).await;
        assert!(typo.contains("there is no field 'expireInS'; there are name, expiresInS"), "{typo}");
        assert!(typo.contains("did you mean 'expiresInS'?"), "{typo}");
        let strange = refused(r#"{"quite_another": 1}"#).await;
        assert!(!strange.contains("did you mean"), "{strange}");
    }

    #[test]
    fn letters_are_counted() {
        for (from, to, letters) in
            [("", "abc", 3), ("setings", "settings", 1), ("nmae", "name", 2), ("x", "x", 0)]
        {
            assert_eq!((distance(from, to), distance(to, from)), (letters, letters), "{from} {to}");
        }
    }
}
