//! A listener that speaks TLS: clients that know its authority get answers, new files come into force beside
//! connections that stand, and who speaks something else is told.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use runyard_listener::{Limits, Networks, Received, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");
const LONG: Duration = Duration::from_mins(1);

/// A certificate of the files beside this one.
fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(Path::new(FILES).join(name)).expect("a certificate")
}

struct House {
    address: SocketAddr,
    tls: Tls,
    files: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        let files = tempfile::tempdir().expect("a folder");
        let house = |name: &str| files.path().join(name);
        std::fs::copy(Path::new(FILES).join("first.pem"), house("cert")).expect("copied");
        std::fs::copy(Path::new(FILES).join("first.key"), house("key")).expect("copied");
        let tls = Tls::load(&house("cert"), &house("key")).expect("usable");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let limits = Limits {
            connections: 50,
            per_address: 50,
            header_bytes: 8 << 10,
            headers: 20,
            header_timeout: LONG,
            first_timeout: LONG,
            idle_timeout: LONG,
            patience: LONG,
            rate: 0,
            send_buffer: None,
            shared: Networks::default(),
        };
        let answers = |_| |request: Request<Received>| async move { answer(&request) };
        let serving =
            runyard_listener::serve_tcp(listener, Some(tls.clone()), limits, answers, std::future::pending());
        tokio::spawn(serving);
        Self { address, tls, files }
    }

    async fn connect(&self, authority: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(authority)).expect("usable");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("usual versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }
}

/// The path itself; `/large` is 8 MiB.
fn answer(request: &Request<Received>) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/large" => Response::new(Full::new(vec![b'x'; 8 << 20].into())),
        path => Response::new(Full::new(path.to_owned().into())),
    }
}

/// What comes until the other side closes.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("a clean end");
    String::from_utf8(answer).expect("text")
}

#[tokio::test]
async fn who_knows_the_authority_gets_answers() {
    let house = House::new().await;
    let mut stream = house.connect("ca.pem").await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = ask(&mut stream, "/hello").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("/hello"), "{answer}");
    let mut stream = house.connect("ca.pem").await.expect("a handshake");
    assert!(ask(&mut stream, "/large").await.len() > 8 << 20);
    house.connect("second.pem").await.expect_err("another authority");
}

#[tokio::test]
async fn who_speaks_without_tls_is_told_so() {
    let house = House::new().await;
    let mut stream = TcpStream::connect(house.address).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a clean end");
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("https://"), "{answer}");
}

#[tokio::test]
async fn new_files_are_for_new_connections_and_end_no_other() {
    let house = House::new().await;
    let shown = |stream: &TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().expect("it proved itself")[0].clone().into_owned()
    };
    let mut old = house.connect("ca.pem").await.expect("a handshake");
    assert_eq!(shown(&old), certificate("first.pem"));
    for (from, to) in [("second.pem", "cert"), ("second.key", "key")] {
        std::fs::copy(Path::new(FILES).join(from), house.files.path().join(to)).expect("copied");
    }
    house.tls.reload().expect("usable");
    let new = house.connect("ca.pem").await.expect("a handshake");
    assert_eq!(shown(&new), certificate("second.pem"));
    assert!(ask(&mut old, "/still-here").await.ends_with("/still-here"));
}
