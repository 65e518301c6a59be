//! TLS towards a server at `https:`: rustls with the authorities that this machine trusts, or with those of a file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Whose certificates are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// A file of authorities in PEM, in the place of this machine's.
    pub authorities: Option<PathBuf>,
}

impl Trust {
    /// Encrypts a connection to whoever can prove to be `host`.
    pub async fn wrap(&self, host: &str, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| invalid(format!("{host} is no name that a certificate can have")))?;
        let connector = TlsConnector::from(Arc::new(self.config()?));
        connector.connect(name, tcp).await.map_err(|error| self.explain(&error))
    }

    fn config(&self) -> io::Result<ClientConfig> {
        let roots = if let Some(file) = &self.authorities {
            of_file(file)?
        } else {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        };
        if roots.is_empty() {
            return Err(invalid(
                "this machine trusts no certificate authority: install its package ca-certificates, or name a \
                 file with --cacert"
                    .to_owned(),
            ));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(format!("TLS cannot be used: {error}")))?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }

    fn explain(&self, error: &io::Error) -> io::Error {
        let unknown = error.to_string().contains("UnknownIssuer") && self.authorities.is_none();
        let advice = if unknown { "; a private authority is named with --cacert FILE" } else { "" };
        io::Error::new(error.kind(), format!("the TLS handshake failed: {error}{advice}"))
    }
}

fn of_file(file: &Path) -> io::Result<RootCertStore> {
    let bad = |why: String| invalid(format!("{} holds no certificates in PEM: {why}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))? {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("there is none in it".to_owned()));
    }
    Ok(roots)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
