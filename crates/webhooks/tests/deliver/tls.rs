//! Webhooks to `https:` addresses. The certificates beside this file are of a made-up authority whose key is gone.

use std::net::IpAddr;
use std::sync::Arc;

use runyard_webhooks::{Options, Reach, Resolve, Resolving};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::house::House;
use crate::receiver::{Act, Receiver};

const AUTHORITY: &[u8] = include_bytes!("tls/ca.pem");

/// Every name is this machine.
struct Here;

impl Resolve for Here {
    fn resolve<'a>(&'a self, _host: &'a str) -> Resolving<'a> {
        Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) })
    }
}

async fn receiver(acts: &[Act]) -> Receiver {
    let chain =
        CertificateDer::pem_slice_iter(include_bytes!("tls/receiver.pem")).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/receiver.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Receiver::with(acts, move |stream| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(stream).await.ok() }
    })
    .await
}

fn trusting(authorities: Option<&[u8]>) -> impl FnOnce(Options) -> Options {
    let authorities = authorities.map(<[u8]>::to_vec);
    move |options| Options {
        reach: Reach::PublicAndLoopback,
        resolver: Arc::new(Here),
        authorities,
        ..options
    }
}

#[tokio::test]
async fn a_receiver_that_proves_its_name_gets_it() {
    let mut receiver = receiver(&[Act::Answer(200)]).await;
    let house = House::new();
    house.ended("j", &format!("https://receiver.test:{}/x", receiver.port), "1", Ok("2"));
    let open = house.open_as(trusting(Some(AUTHORITY)));
    assert_eq!(receiver.next().await.line, "POST /x HTTP/1.1");
    open.delivered("j").await;
}

#[tokio::test]
async fn others_do_not() {
    let mut receiver = receiver(&[Act::Answer(200)]).await;
    for (host, authorities, expected) in [
        ("other.test", Some(AUTHORITY), "the TLS handshake with other.test failed: "),
        ("receiver.test", Some(&b""[..]), "this machine trusts no certificate authority"),
    ] {
        let house = House::new();
        house.ended("j", &format!("https://{host}:{}/", receiver.port), "1", Ok("2"));
        let open = house.open_as(trusting(authorities));
        let words = open.words("j").await;
        assert!(words.starts_with(expected), "{words}");
    }
    assert_eq!(receiver.more(), 0);
}

#[tokio::test]
async fn from_https_nothing_leads_to_http() {
    let mut plain = Receiver::start(&[Act::Answer(200)]).await;
    let receiver = receiver(&[Act::Redirect(307, plain.url("/"))]).await;
    let house = House::new();
    house.ended("j", &format!("https://receiver.test:{}/", receiver.port), "1", Ok("2"));
    let open = house.open_as(trusting(Some(AUTHORITY)));
    let words = open.words("j").await;
    assert!(words.contains("it redirects from https to http"), "{words}");
    assert_eq!(plain.more(), 0);
}
