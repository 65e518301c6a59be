//! An object of a `hub.json` and its keys: what each must be is said where it is taken, and what nobody took is told.

use serde_json::{Map, Value};

use super::ListingError;

/// The longest text of the file that is shown, in characters.
const LONGEST: usize = 4_000;

/// An object, and where it is.
pub(super) struct Keys<'a> {
    at: String,
    map: &'a Map<String, Value>,
    taken: Vec<&'static str>,
}

pub(super) fn wrong(key: &str, problem: impl Into<String>) -> ListingError {
    ListingError::Key { key: key.chars().take(200).collect(), problem: problem.into() }
}

impl<'a> Keys<'a> {
    pub(super) fn of(at: &str, value: &'a Value) -> Result<Self, ListingError> {
        let name = if at.is_empty() { "the file" } else { at };
        let map = value.as_object().ok_or_else(|| wrong(name, "must be an object"))?;
        Ok(Self { at: at.to_owned(), map, taken: Vec::new() })
    }

    /// Where a key is.
    pub(super) fn place(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    /// A value that is not null.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.taken.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, ListingError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| wrong(&self.place(key), "must be a text"))?;
        if text.chars().count() > LONGEST {
            return Err(wrong(&self.place(key), format!("has more than {LONGEST} characters")));
        }
        Ok(Some(text.to_owned()))
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Result<bool, ListingError> {
        let Some(value) = self.get(key) else { return Ok(false) };
        value.as_bool().ok_or_else(|| wrong(&self.place(key), "must be true or false"))
    }

    pub(super) fn number(&mut self, key: &'static str) -> Result<Option<f64>, ListingError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| wrong(&self.place(key), "must be a number"))
    }

    /// A whole number of at most `most`.
    pub(super) fn count(&mut self, key: &'static str, most: u32) -> Result<Option<u32>, ListingError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= most);
        number
            .map(Some)
            .ok_or_else(|| wrong(&self.place(key), format!("must be a whole number from 0 to {most}")))
    }

    /// A list with its items' places; none where the key is not there.
    pub(super) fn list(
        &mut self,
        key: &'static str,
        most: usize,
    ) -> Result<Vec<(String, &'a Value)>, ListingError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let place = self.place(key);
        let items = value.as_array().ok_or_else(|| wrong(&place, "must be a list"))?;
        if items.len() > most {
            return Err(wrong(&place, format!("has more than {most} items")));
        }
        Ok(items.iter().enumerate().map(|(index, item)| (format!("{place}[{index}]"), item)).collect())
    }

    /// Notes the keys that nobody took.
    pub(super) fn rest(&self, unknown: &mut Vec<String>) {
        let strange = self.map.keys().filter(|key| !self.taken.contains(&key.as_str()));
        let room = super::MOST.saturating_sub(unknown.len());
        unknown.extend(strange.take(room).map(|key| self.place(key).chars().take(200).collect()));
    }
}
