//! Pull requests as the APIs of forges list them: GitHub's shape, which Gitea and Forgejo share, and GitLab's merge
//! requests. Which of them get an endpoint is decided elsewhere, for lists and messages alike.

use serde::Deserialize;
use serde_json::Value;

use crate::hook::{Pull, PullRequest, checked};

/// One page of a list of open pull requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Those that could be read.
    pub pulls: Vec<Pull>,
    /// How many the page has, also those that could not be read: a full page is not the last one.
    pub count: usize,
}

/// Reads a page of open pull requests.
pub fn read(body: &[u8], gitlab: bool) -> Result<Page, String> {
    let items: Vec<Value> = serde_json::from_slice(body)
        .map_err(|error| format!("the list of pull requests cannot be read: {error}"))?;
    let count = items.len();
    let one = |item: Value| if gitlab { merge_request(item) } else { pull_request(item) };
    Ok(Page { pulls: items.into_iter().filter_map(one).filter(|pull| !pull.closed).collect(), count })
}

/// Reads whether one pull request is still open.
pub fn is_open(body: &[u8]) -> Result<bool, String> {
    #[derive(Deserialize)]
    struct One {
        state: String,
    }
    let one: One =
        serde_json::from_slice(body).map_err(|error| format!("the pull request cannot be read: {error}"))?;
    Ok(is_open_state(&one.state))
}

/// GitHub's and Gitea's word, GitLab's, and GitLab's for one that nobody may comment on.
fn is_open_state(state: &str) -> bool {
    matches!(state, "open" | "opened" | "locked")
}

fn pull_request(item: Value) -> Option<Pull> {
    #[derive(Deserialize)]
    struct Item {
        number: u64,
        state: String,
        #[serde(flatten)]
        sides: PullRequest,
    }
    let Item { number, state, sides } = serde_json::from_value(item).ok()?;
    sides.pull(number, !is_open_state(&state))
}

fn merge_request(item: Value) -> Option<Pull> {
    #[derive(Deserialize)]
    struct Item {
        iid: u64,
        state: String,
        source_branch: String,
        target_branch: String,
        sha: String,
        source_project_id: Option<u64>,
        target_project_id: Option<u64>,
    }
    let item: Item = serde_json::from_value(item).ok()?;
    checked(Pull {
        number: item.iid,
        branch: item.source_branch,
        base: item.target_branch,
        commit: item.sha,
        same_repository: item.source_project_id.is_some() && item.source_project_id == item.target_project_id,
        closed: !is_open_state(&item.state),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use serde_json::json;

    use super::*;

    const SHA: &str = "6dcb09b5b57875f334f61aebed695e2e4193db5e";

    #[test]
    fn lists_of_both_shapes_are_read_and_odd_entries_left_out() {
        let side = |name: &str, repo: Value| json!({"ref": name, "sha": SHA, "repo": repo});
        let own = || json!({"full_name": "me/x", "private": true});
        let item = |number: u64, head: Value| json!({"number": number, "state": "open", "title": "x", "head": head, "base": side("main", own())});
        let listed = json!([
            item(7, side("topic", own())),
            item(8, side("topic", json!({"full_name": "you/x"}))),
            item(9, side("gone", Value::Null)),
            item(10, side("--upload-pack=x", own())),
            {"number": "eleven"},
        ]);
        let page = read(listed.to_string().as_bytes(), false).unwrap();
        let seen: Vec<_> = page.pulls.iter().map(|p| (p.number, p.same_repository)).collect();
        assert_eq!((seen.as_slice(), page.count), (&[(7, true), (8, false), (9, false)][..], 5));
        assert_eq!((page.pulls[0].branch.as_str(), page.pulls[0].base.as_str()), ("topic", "main"));

        let merge = |state: &str, from: Value| {
            json!({"iid": 3, "state": state, "source_branch": "topic", "target_branch": "main", "sha": SHA,
                   "source_project_id": from, "target_project_id": 1})
        };
        let listed = json!([
            merge("opened", json!(1)),
            merge("opened", json!(2)),
            merge("opened", Value::Null),
            merge("merged", json!(1))
        ]);
        let page = read(listed.to_string().as_bytes(), true).unwrap();
        let seen: Vec<_> = page.pulls.iter().map(|p| p.same_repository).collect();
        assert_eq!((seen.as_slice(), page.count), (&[true, false, false][..], 4));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for body in ["", "{}", "[", "null", r#"{"message": "Not Found"}"#] {
            assert!(read(body.as_bytes(), false).is_err(), "{body}");
        }
    }

    #[test]
    fn one_is_open_or_not() {
        for (state, open) in
            [("open", true), ("opened", true), ("locked", true), ("closed", false), ("merged", false)]
        {
            assert_eq!(is_open(json!({"state": state}).to_string().as_bytes()), Ok(open), "{state}");
        }
        assert!(is_open(b"{}").is_err());
    }
}
