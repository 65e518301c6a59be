//! The form of the list of jobs: those that were chosen are cancelled or retried, each by a call of its own.

use http::Method;
use serde_json::json;

use super::{go, wrong};
use crate::call::{Trouble, encoded};
use crate::forms::{After, Form, unknown, what};
use crate::session::{Visit, is_own_path};
use crate::show;

/// The most jobs of one form: as many as a page has.
const MOST: usize = crate::pages::jobs::ROWS;

pub(super) async fn submit(visit: &Visit, form: &Form) -> Result<After, Trouble> {
    let (verb, done) = match what(form) {
        "cancel" => ("cancel", "cancelled"),
        "retry" => ("retry", "in the queue again"),
        _ => return Err(unknown()),
    };
    let ids = form.all("id");
    if ids.is_empty() {
        return Err(wrong("no job is chosen: choose some by the boxes before them"));
    }
    if ids.len() > MOST {
        return Err(wrong(format!("{} jobs are chosen, and {MOST} go at once", ids.len())));
    }
    let (mut well, mut first) = (0, None);
    for id in &ids {
        let path = format!("/api/v1/jobs/{}/{verb}", encoded(id));
        match visit.send(Method::POST, &path, &json!({})).await {
            Ok(_) => well += 1,
            Err(trouble) => first = first.or(Some(trouble)),
        }
    }
    let back = form.get("back").filter(|back| is_own_path(back)).unwrap_or("/jobs");
    let told = told(well, ids.len(), done);
    match first {
        None => go(back, told),
        Some(trouble) if well == 0 && ids.len() == 1 => Err(trouble),
        Some(trouble) if well == 0 => Err(wrong(format!("None of them is {done}: {}", trouble.words()))),
        Some(trouble) => go(back, format!("{told} The first that is not: {}", trouble.words())),
    }
}

/// How many of those that were chosen are done with.
fn told(well: u64, of: usize, done: &str) -> String {
    let is = if well == 1 { "is" } else { "are" };
    if well == of as u64 {
        format!("{} {is} {done}.", show::count(well, "job"))
    } else {
        format!("{well} of {} {is} {done}.", show::count(of as u64, "job"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_them_is_told() {
        assert_eq!(told(1, 1, "cancelled"), "1 job is cancelled.");
        assert_eq!(told(3, 3, "in the queue again"), "3 jobs are in the queue again.");
        assert_eq!(told(2, 3, "cancelled"), "2 of 3 jobs are cancelled.");
    }
}
