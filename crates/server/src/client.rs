//! Who a request comes from: the connection's own address, or, where that is a proxy that the configuration trusts,
//! the one that it names. Whoever else sends `X-Forwarded-For` is not believed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use runyard_listener::Networks;
use tokio::time::Instant;

/// The other side of a connection, as the listener saw it; in a request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Who a request comes from; in a request's extensions, where it came over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The client's address.
    pub address: IpAddr,
    /// Whether the client speaks TLS, with us or with the proxy.
    pub https: bool,
}

/// What it takes to know clients.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) trusted: Networks,
    /// Requests at once from one address that comes through a proxy.
    pub(crate) share: usize,
    /// Whether the listener itself speaks TLS.
    pub(crate) https: bool,
    pub(crate) at_once: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.at_once.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more request of a client behind a proxy.
    fn enter(&self, address: IpAddr) -> Option<Seat> {
        let mut at_once = self.lock();
        let count = at_once.entry(address).or_default();
        if *count >= self.share {
            return None;
        }
        *count += 1;
        Some(Seat { clients: self.clone(), address })
    }

    /// The sentence of the listener for connections, for requests.
    fn refusal(&self) -> Response {
        let error = format!(
            "this address has {} requests open, which is its share: wait for some of them; \
             max_connections_per_address raises it",
            self.share
        );
        let body = axum::Json(serde_json::json!({"error": error, "code": "too_many_connections"}));
        (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "5")], body).into_response()
    }
}

/// A request that is being answered.
struct Seat {
    clients: Clients,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut at_once = self.clients.lock();
        if let Some(count) = at_once.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                at_once.remove(&self.address);
            }
        }
    }
}

/// Notes who a request comes from, for whoever answers it and for the log.
pub(crate) async fn know(State(clients): State<Clients>, mut request: Request, next: Next) -> Response {
    let Some(Peer(peer)) = request.extensions().get().copied() else { return next.run(request).await };
    let forwarded = clients.trusted.contain(peer);
    let client = if forwarded {
        let headers = request.headers();
        let address = address_of(peer, headers, &clients.trusted);
        Client { address, https: clients.https || says_https(headers) }
    } else {
        Client { address: peer.to_canonical(), https: clients.https }
    };
    let seat = forwarded.then(|| clients.enter(client.address));
    if matches!(seat, Some(None)) {
        return clients.refusal();
    }
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(runyard_manage::Peer(client.address));
    let (method, path) = (request.method().clone(), shown(request.uri().path()).to_owned());
    let began = Instant::now();
    let response = next.run(request).await;
    tracing::debug!(
        client.address = %client.address,
        client.https,
        %method,
        path,
        status = response.status().as_u16(),
        duration_ms = began.elapsed().as_millis() as u64,
        "A request was answered"
    );
    response
}

/// A path without what opens something: workers and forges have their secrets in it.
fn shown(path: &str) -> &str {
    match path.get(..3) {
        Some("/w/") => "/w/…",
        _ if path.starts_with("/hooks/") => "/hooks/…",
        _ => path,
    }
}

fn says_https(headers: &HeaderMap) -> bool {
    let last = headers.get_all("x-forwarded-proto").iter().next_back();
    last.and_then(|value| value.to_str().ok()).is_some_and(|text| {
        text.rsplit(',').next().is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
    })
}

/// The client's address as trusted proxies tell it: each adds whom it hears, so the last one that is not itself a
/// trusted proxy is the client. What stands before it anybody may have written.
pub fn address_of(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut found = peer.to_canonical();
    for line in lines {
        for entry in line.to_str().unwrap_or_default().rsplit(',') {
            if !trusted.contain(found) {
                return found;
            }
            let Some(address) = address(entry.trim()) else { return found };
            found = address.to_canonical();
        }
    }
    found
}

/// `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn the_last_that_is_no_trusted_proxy_is_the_client() {
        let trusted: Networks = "127.0.0.1,10.0.0.0/8".parse().expect("networks");
        for (peer, lines, client) in [
            ("127.0.0.1", &["203.0.113.7"][..], "203.0.113.7"),
            ("127.0.0.1", &["6.6.6.6, 203.0.113.7, 10.0.0.1"], "203.0.113.7"),
            ("127.0.0.1", &["6.6.6.6", "203.0.113.7:4711"], "203.0.113.7"),
            ("127.0.0.1", &["[2001:db8::1]:80"], "2001:db8::1"),
            ("127.0.0.1", &["::ffff:203.0.113.7"], "203.0.113.7"),
            ("127.0.0.1", &["10.0.0.9"], "10.0.0.9"),
            ("127.0.0.1", &["unknown"], "127.0.0.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("203.0.113.9", &["6.6.6.6"], "203.0.113.9"),
        ] {
            let found = address_of(peer.parse().expect("an address"), &headers(lines), &trusted);
            assert_eq!(found.to_string(), client, "{peer} {lines:?}");
        }
    }

    #[test]
    fn secrets_in_paths_are_not_shown() {
        assert_eq!(shown("/w/secret/v2/e/ping/x"), "/w/…");
        assert_eq!(shown("/hooks/git/secret"), "/hooks/…");
        assert_eq!(shown("/v2/e/run"), "/v2/e/run");
        assert_eq!(shown("/wé"), "/wé");
    }

    #[test]
    fn a_client_has_its_share_of_a_proxy() {
        let clients =
            Clients { trusted: Networks::default(), share: 1, https: false, at_once: Arc::default() };
        let (one, other) = (IpAddr::from([203, 0, 113, 1]), IpAddr::from([203, 0, 113, 2]));
        let seat = clients.enter(one).expect("its first");
        assert!(clients.enter(one).is_none() && clients.enter(other).is_some());
        drop(seat);
        assert!(clients.enter(one).is_some());
    }
}
