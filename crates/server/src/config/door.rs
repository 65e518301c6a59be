//! The part of the configuration that says how users reach the server: with TLS by files or by an authority, or through
//! a proxy that is trusted.

use std::path::{Path, PathBuf};

use runyard_listener::Networks;

use super::acme::Acme;
use super::{File, Flags, Layers, wrong};
use crate::ServerError;

/// How users come in.
#[derive(Debug, Clone, Default)]
pub struct Door {
    /// The file of certificates and the file of their key, where the listener speaks TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Who gives the listener its certificate, where an authority does.
    pub acme: Option<Acme>,
    /// Proxies whose word about the client is believed.
    pub trusted_proxies: Networks,
}

impl Door {
    /// `folder` is where relative paths begin: the data directory.
    pub(super) fn pick(
        layers: &mut Layers,
        file: &File,
        flags: &Flags,
        folder: &Path,
    ) -> Result<Self, ServerError> {
        let cert = layers.pick("tls_cert", flags.tls_cert.clone(), file.tls_cert.clone(), None)?;
        let key = layers.pick("tls_key", flags.tls_key.clone(), file.tls_key.clone(), None)?;
        let trusted = file.trusted_proxies.clone().map(|list| list.join(", "));
        let trusted: Option<String> = layers.pick("trusted_proxies", None, trusted, None)?;
        let tls = match (cert.filter(|path| !path.is_empty()), key.filter(|path| !path.is_empty())) {
            (Some(cert), Some(key)) => Some((folder.join(cert), folder.join(key))),
            (None, None) => None,
            (cert, _) => {
                let (there, away) =
                    if cert.is_some() { ("tls_cert", "tls_key") } else { ("tls_key", "tls_cert") };
                return Err(wrong(format!(
                    "{there} is set and {away} is not: TLS needs the certificate and its key"
                )));
            }
        };
        let acme = Acme::pick(layers, file, flags)?;
        if acme.is_some() && tls.is_some() {
            return Err(wrong(
                "acme_domains and tls_cert are both set: the certificate comes from one of them".to_owned(),
            ));
        }
        let trusted_proxies = trusted
            .unwrap_or_default()
            .parse()
            .map_err(|error| wrong(format!("trusted_proxies: {error}")))?;
        Ok(Self { tls, acme, trusted_proxies })
    }

    /// The scheme of the listener's own address.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() || self.acme.is_some() { "https" } else { "http" }
    }

    /// The base URL of a server whose name an authority vouches for.
    pub fn url(&self) -> Option<String> {
        Some(format!("https://{}", self.acme.as_ref()?.domains.first()?))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};

    fn load(text: &str, flags: &Flags) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("server.toml");
        std::fs::write(&file, text).expect("written");
        Config::load(&file, flags).map_err(|error| error.to_string())
    }

    #[test]
    fn tls_needs_both_files_and_paths_begin_at_the_data_directory() {
        let flags = Flags::default();
        let config = load("tls_cert = \"tls/cert.pem\"\ntls_key = \"/etc/key.pem\"", &flags).expect("valid");
        let (cert, key) = config.door.tls.as_ref().expect("both are there");
        assert!(cert.is_absolute() && cert.ends_with("tls/cert.pem"), "{}", cert.display());
        assert_eq!((key.as_path(), config.door.scheme()), ("/etc/key.pem".as_ref(), "https"));
        for (set, away) in [("tls_cert", "tls_key"), ("tls_key", "tls_cert")] {
            let error = load(&format!("{set} = \"x.pem\""), &flags).expect_err("half");
            assert!(error.contains(&format!("{set} is set and {away} is not")), "{error}");
        }
        assert_eq!(load("", &flags).expect("valid").door.scheme(), "http");
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        let flags = Flags::default();
        let config = load("trusted_proxies = [\"10.0.0.0/8\", \"::1\"]", &flags).expect("valid");
        assert!(config.door.trusted_proxies.contain([10, 1, 2, 3].into()));
        let error = load("trusted_proxies = [\"proxy.lan\"]", &flags).expect_err("a name");
        assert!(error.contains("'proxy.lan' is neither an address nor a network"), "{error}");
    }
}
