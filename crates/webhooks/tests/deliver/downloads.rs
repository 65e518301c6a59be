//! Files of other servers: whole, bounded, and from nowhere else than where they may be from.

use http::{HeaderMap, HeaderValue, header};
use runyard_webhooks::{Asker, Reach};

use crate::receiver::{Act, Receiver};

async fn download(reach: Reach, url: &str, most: u64) -> (Result<u16, String>, Vec<u8>) {
    let mut secret = HeaderMap::new();
    secret.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic hush"));
    let mut read = Vec::new();
    let mut sink = |piece: &[u8]| {
        read.extend_from_slice(piece);
        Ok(())
    };
    let said = Asker::new(reach).download(url, secret, most, &mut sink).await;
    (said, read)
}

#[tokio::test]
async fn a_file_is_read_and_the_secret_stays_with_its_host() {
    let mut store = Receiver::start(&[Act::Answer(200)]).await;
    let (same, other) = ("/same".to_owned(), store.url("/file"));
    let acts = [Act::Redirect(302, same), Act::Redirect(307, other), Act::Answer(200)];
    let mut first = Receiver::start(&acts).await;
    let (said, read) = download(Reach::Anywhere, &first.url("/"), 10).await;
    assert_eq!((said, read.as_slice()), (Ok(200), &b"ok"[..]));
    assert_eq!(first.next().await.header("authorization"), "Basic hush");
    assert_eq!(first.next().await.header("authorization"), "Basic hush");
    let last = store.next().await;
    assert_eq!((last.line.as_str(), last.header("authorization")), ("GET /file HTTP/1.1", ""));
}

#[tokio::test]
async fn what_is_too_large_private_or_endless_is_refused() {
    let endless = Receiver::start(&[Act::Endless]).await;
    let (said, read) = download(Reach::Anywhere, &endless.url("/"), 100_000).await;
    assert!(said.unwrap_err().contains("more than the 100000 bytes") && read.len() <= 100_000);
    let mut private = Receiver::start(&[Act::Answer(200)]).await;
    let (said, _) = download(Reach::Public, &private.url("/"), 10).await;
    assert!(said.unwrap_err().contains("git_allow_private"));
    assert_eq!(private.more(), 0);
    let circle = Receiver::start(&[Act::Redirect(301, "/".to_owned())]).await;
    assert!(download(Reach::Anywhere, &circle.url("/"), 10).await.0.unwrap_err().contains("redirected more"));
    let gone = Receiver::start(&[Act::Answer(404)]).await;
    assert_eq!(download(Reach::Anywhere, &gone.url("/"), 10).await, (Ok(404), Vec::new()));
}
