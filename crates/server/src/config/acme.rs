//! The part of the configuration that has an authority give the server its certificate, by ACME (RFC 8555).

use super::{File, Flags, Layers, wrong};
use crate::ServerError;

/// The authority that is asked unless another is named: Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Names in one certificate; Let's Encrypt takes as many.
const MOST_DOMAINS: usize = 100;

/// Whose certificate is asked for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The names that the certificate is for, lower case, at least one; the first is the server's.
    pub domains: Vec<String>,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// The authority's directory.
    pub directory: String,
}

impl Acme {
    pub(super) fn pick(layers: &mut Layers, file: &File, flags: &Flags) -> Result<Option<Self>, ServerError> {
        let listed = file.acme_domains.as_ref().map(|list| list.join(", "));
        let domains: Option<String> =
            layers.pick("acme_domains", flags.acme_domains.clone(), listed, None)?;
        let email = layers.pick("acme_email", None, file.acme_email.clone(), None)?;
        let directory =
            layers.pick("acme_directory", None, file.acme_directory.clone(), Some(DIRECTORY.to_owned()))?;
        let directory = directory.unwrap_or_default();
        let mut names: Vec<String> = Vec::new();
        for name in domains.as_deref().unwrap_or_default().split(',').map(str::trim) {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            if name.is_empty() || names.contains(&name) {
                continue;
            }
            judge(&name)?;
            names.push(name);
        }
        if names.len() > MOST_DOMAINS {
            return Err(wrong(format!("acme_domains names {} domains; at most {MOST_DOMAINS}", names.len())));
        }
        if !directory.starts_with("https://") {
            return Err(wrong(format!("acme_directory is '{directory}'; it must be an https address")));
        }
        let email = email.filter(|email| !email.is_empty());
        if let Some(email) = email.as_deref().filter(|email| !email.contains('@')) {
            return Err(wrong(format!("acme_email is '{email}'; it must be a mail address")));
        }
        Ok((!names.is_empty()).then_some(Self { domains: names, email, directory }))
    }
}

/// A name that an authority can prove to be ours by connecting to it.
fn judge(name: &str) -> Result<(), ServerError> {
    let why = if name.contains('*') {
        "a certificate for all names below it needs a proof by DNS, which is not done here: name each one, or get it \
         elsewhere and set tls_cert and tls_key"
    } else if name.parse::<std::net::IpAddr>().is_ok() {
        "it is an address; a certificate is for a name that leads there"
    } else if name.len() > 253 || !name.contains('.') || !name.split('.').all(is_label) {
        "it is no full domain name, such as gpu.example.org"
    } else {
        return Ok(());
    };
    Err(wrong(format!("acme_domains: '{name}': {why}")))
}

fn is_label(label: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(inside)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(file: &str) -> Result<Option<Acme>, String> {
        let file: File = toml::from_str(file).expect("a file");
        let mut layers = Layers { values: Vec::new() };
        Acme::pick(&mut layers, &file, &Flags::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_read_as_one_writes_them() {
        assert_eq!(pick(""), Ok(None));
        let acme = pick("acme_domains = [\"GPU.Example.org.\", \"gpu.example.org\", \"b.example.org\"]");
        let acme = acme.expect("valid").expect("there");
        assert_eq!(acme.domains, ["gpu.example.org", "b.example.org"]);
        assert_eq!((acme.email, acme.directory.as_str()), (None, DIRECTORY));
    }

    #[test]
    fn what_no_authority_can_prove_is_refused_by_name() {
        for (file, said) in [
            ("acme_domains = [\"*.example.org\"]", "proof by DNS"),
            ("acme_domains = [\"192.0.2.1\"]", "it is an address"),
            ("acme_domains = [\"localhost\"]", "no full domain name"),
            ("acme_domains = [\"-a.example.org\"]", "no full domain name"),
            ("acme_domains = [\"a..org\"]", "no full domain name"),
            ("acme_email = \"nobody\"", "a mail address"),
            ("acme_directory = \"http://ca.example.org\"", "an https address"),
        ] {
            let error = pick(file).expect_err(file);
            assert!(error.contains(said), "{file}: {error}");
        }
    }
}
