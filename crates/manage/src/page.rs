//! Lists in pages: how many items one answer has, and the cursor after which the next one begins. A cursor names the
//! place of the last item in the list's order, so that what comes or goes meanwhile neither repeats nor hides another.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Problem;

/// The most items of one page, and how many there are where nothing is said.
pub(crate) const MOST: usize = 1_000;
const USUAL: usize = 100;

/// The longest cursor, in bytes.
const LONGEST: usize = 400;

/// Which page is asked for.
#[derive(Debug)]
pub(crate) struct Paging {
    limit: usize,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    limit: Option<usize>,
    cursor: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let asked = Query::<Asked>::from_request_parts(parts, state).await;
        let Query(Asked { limit, cursor }) = asked.map_err(|error| Problem::invalid(error.body_text()))?;
        Ok(Self { limit: bounded(limit, USUAL, MOST)?, cursor })
    }
}

impl Paging {
    /// The page of so many items that begins after a cursor.
    pub(crate) fn after_cursor(cursor: &str, limit: usize) -> Self {
        Self { limit, cursor: Some(cursor.to_owned()) }
    }

    /// How many items the page has at most.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The place after which the page begins.
    pub(crate) fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let wrong =
            || Problem::invalid("'cursor' is none that a list gave: take 'nextCursor' of the page before");
        if cursor.len() > LONGEST {
            return Err(wrong());
        }
        let text = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong())?;
        serde_json::from_slice(&text).map(Some).map_err(|_| wrong())
    }

    /// The page of a whole list in the order of `place`, which no two items share, and the cursor of the next page.
    pub(crate) fn cut<T, K: Ord + Serialize + DeserializeOwned>(
        &self,
        mut items: Vec<T>,
        place: impl Fn(&T) -> K,
    ) -> Result<(Vec<T>, Option<String>), Problem> {
        items.sort_by_cached_key(&place);
        if let Some(last) = self.after::<K>()? {
            items.retain(|item| place(item) > last);
        }
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let next = items.last().filter(|_| more).map(|last| cursor(&place(last)));
        Ok((items, next))
    }
}

/// A limit within its bounds.
pub(crate) fn bounded(limit: Option<usize>, usual: usize, most: usize) -> Result<usize, Problem> {
    match limit.unwrap_or(usual) {
        0 => Err(Problem::invalid(format!("'limit' is 0: it must be 1 to {most}"))),
        limit if limit > most => Err(Problem::invalid(format!("'limit' is {limit}: it must be 1 to {most}"))),
        limit => Ok(limit),
    }
}

/// The cursor of a place.
pub(crate) fn cursor(place: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    fn page(cursor: Option<String>, items: &[u32]) -> (Vec<u32>, Option<String>) {
        Paging { limit: 2, cursor }.cut(items.to_vec(), |n| *n).unwrap()
    }

    #[test]
    fn pages_follow_one_another_whatever_comes_and_goes() {
        let (first, next) = page(None, &[5, 1, 3]);
        assert_eq!(first, [1, 3]);
        // The item that the cursor names is gone, and one came before it.
        let (second, end) = page(next, &[2, 5, 4]);
        assert_eq!((second, end), (vec![4, 5], None));
        assert_eq!(page(None, &[1, 2]).1, None, "a full page need not be followed by another");
    }

    #[test]
    fn what_is_no_cursor_and_no_limit_is_refused() {
        for cursor in ["", "x", "!!", "bnVsbA", &"A".repeat(500)] {
            assert!(Paging::after_cursor(cursor, 2).cut(vec![1_u32], |n| *n).is_err(), "{cursor}");
        }
        for limit in [0, 1_001, usize::MAX] {
            assert!(bounded(Some(limit), 100, 1_000).is_err(), "{limit}");
        }
        assert_eq!(bounded(None, 100, 1_000).unwrap(), 100);
    }
}
