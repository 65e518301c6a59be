//! Lists that come in pages, read as one: the documents in them stay as the server sent them.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Client, ClientError, Reply};

/// The most items that the server gives at once.
const PAGE: usize = 1_000;

/// A page: its fields as they are.
type Page = BTreeMap<String, Box<RawValue>>;

impl Client {
    /// A whole list: the pages that `path` begins with, the items of `field` one after the other.
    pub async fn all(&self, path: String, field: &str) -> Result<Reply, ClientError> {
        let first = self.get(path.clone()).await?;
        self.rest(first, &path, field, usize::MAX).await
    }

    /// The first `most` items of a list.
    pub async fn first(&self, path: String, field: &str, most: usize) -> Result<Reply, ClientError> {
        let first = self.get(with(&path, "limit", &most.min(PAGE).to_string())).await?;
        self.rest(first, &path, field, most).await
    }

    /// The pages that follow this one, put to it, until there are `most` items.
    async fn rest(&self, first: Reply, path: &str, field: &str, most: usize) -> Result<Reply, ClientError> {
        let mut whole: Page = first.parse()?;
        let mut next = cursor(&whole);
        let mut items = items(&whole, field);
        if next.is_none() || items.len() >= most {
            return Ok(first);
        }
        while let Some(cursor) = next.filter(|_| items.len() < most) {
            let limit = (most - items.len()).min(PAGE).to_string();
            let reply = self.get(with(&with(path, "limit", &limit), "cursor", &cursor)).await?;
            let page: Page = reply.parse()?;
            items.extend(self::items(&page, field));
            next = self::cursor(&page);
            whole.extend(page.into_iter().filter(|(name, _)| name == "nextCursor"));
        }
        let list: Vec<&str> = items.iter().map(|item| item.get()).collect();
        if let Ok(list) = RawValue::from_string(format!("[{}]", list.join(","))) {
            whole.insert(field.to_owned(), list);
        }
        let text = serde_json::to_string(&whole).expect("documents that were read can be written");
        Ok(Reply { text, ..first })
    }
}

fn items(page: &Page, field: &str) -> Vec<Box<RawValue>> {
    page.get(field).and_then(|list| serde_json::from_str(list.get()).ok()).unwrap_or_default()
}

fn cursor(page: &Page) -> Option<String> {
    serde_json::from_str(page.get("nextCursor")?.get()).ok()
}

/// The path with one more value in its query. Cursors and numbers need no escapes.
fn with(path: &str, name: &str, value: &str) -> String {
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sign}{name}={value}")
}

#[cfg(test)]
mod tests {
    use axum::extract::RawQuery;
    use axum::routing::get;

    use super::*;
    use crate::client::Transport;

    async fn page(RawQuery(query): RawQuery) -> String {
        let after =
            query.unwrap_or_default().split("cursor=").nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        let next = if after < 2 { format!("\"{}\"", after + 1) } else { "null".to_owned() };
        format!("{{\"n\":[{{\"b\":{after}.10,\"a\":1}}],\"nextCursor\":{next},\"more\":true}}")
    }

    #[tokio::test]
    async fn pages_become_one_list_with_its_documents_as_they_were() {
        let router = axum::Router::new().route("/n", get(page));
        let client = Client::local(Transport::InProcess(router), "here".to_owned());
        let all = client.all("/n".to_owned(), "n").await.expect("pages").text;
        let (one, two, three) = ("{\"b\":0.10,\"a\":1}", "{\"b\":1.10,\"a\":1}", "{\"b\":2.10,\"a\":1}");
        assert_eq!(all, format!("{{\"more\":true,\"n\":[{one},{two},{three}],\"nextCursor\":null}}"));
        let some = client.first("/n".to_owned(), "n", 2).await.expect("pages").text;
        assert!(
            some.contains(two) && !some.contains(three) && some.contains("\"nextCursor\":\"2\""),
            "{some}"
        );
    }
}
