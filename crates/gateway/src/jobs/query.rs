//! Parameters of the query: numbers of milliseconds.

use super::error::JobError;

/// The number called `name`, where it is there.
pub(crate) fn number(query: Option<&str>, name: &'static str) -> Result<Option<i64>, JobError> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, text)) = pairs.into_iter().find(|(key, _)| *key == name) else { return Ok(None) };
    if text.is_empty() {
        return Ok(None);
    }
    let whole = text.parse::<i64>().ok();
    let float = || text.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n as i64);
    match whole.or_else(float) {
        Some(number) => Ok(Some(number)),
        None => Err(JobError::Parameter {
            name,
            found: text.chars().take(60).collect(),
            allowed: "a number of milliseconds",
        }),
    }
}
