//! TLS for webhooks to `https:`: rustls with the authorities that the machine trusts, read at the first use.

use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::connect::Stream;

/// Encrypts connections.
#[derive(Clone)]
pub(crate) struct Tls {
    /// Certificates in PEM to trust instead of the machine's.
    authorities: Option<Arc<[u8]>>,
    connector: Arc<OnceLock<Result<TlsConnector, String>>>,
}

impl Tls {
    pub(crate) fn new(authorities: Option<Vec<u8>>) -> Self {
        Self { authorities: authorities.map(Arc::from), connector: Arc::default() }
    }

    /// A connection that is encrypted to whoever can prove to be `host`.
    pub(crate) async fn wrap(&self, host: &str, tcp: TcpStream) -> Result<Box<dyn Stream>, String> {
        let connector = self.connector.get_or_init(|| self.make()).clone()?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host} is no name that a certificate can have"))?;
        match connector.connect(name, tcp).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(format!("the TLS handshake with {host} failed: {error}")),
        }
    }

    fn make(&self) -> Result<TlsConnector, String> {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(pem) => {
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(
                "this machine trusts no certificate authority: install its package ca-certificates, or \
                        name a file of them in SSL_CERT_FILE, and start the server again"
                    .to_owned(),
            );
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be used: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}
