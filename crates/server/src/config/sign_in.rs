//! The part of the configuration that says how people sign in: at which OpenID Connect provider, who of its people may
//! come in, and how long a session lasts.

use std::collections::BTreeMap;
use std::path::Path;

use runyard_domain::Role;
use runyard_manage::{ConfigValue, Oidc, SignInOptions};

use super::{File, Layers, between, wrong};
use crate::ServerError;

/// The longest session, in seconds: thirty days.
const LONGEST_SESSION_S: u64 = 30 * 86_400;

/// The largest file of a secret, in bytes.
const LARGEST_SECRET: usize = 4_096;

/// `folder` is where relative paths begin: the data directory.
pub(super) fn pick(layers: &mut Layers, file: &File, folder: &Path) -> Result<SignInOptions, ServerError> {
    let usual = SignInOptions::default();
    let usual_s = usual.session_s as u64;
    let session_s = layers.pick("session_s", None, file.session_s, Some(usual_s))?.unwrap_or(usual_s);
    between("session_s", session_s, 60, LONGEST_SESSION_S)?;
    let mut text = |key: &str, value: &Option<String>, usual: Option<&str>| {
        let value = layers.pick(key, None, value.clone(), usual.map(str::to_owned))?;
        Ok::<_, ServerError>(value.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
    };
    let issuer = text("oidc_issuer", &file.oidc_issuer, None)?;
    let client_id = text("oidc_client_id", &file.oidc_client_id, None)?;
    let secret = text("oidc_client_secret_file", &file.oidc_client_secret_file, None)?;
    let scopes = text("oidc_scopes", &file.oidc_scopes, Some("openid email profile"))?.unwrap_or_default();
    let groups_claim =
        text("oidc_groups_claim", &file.oidc_groups_claim, Some("groups"))?.unwrap_or_default();
    let domains = text("oidc_domains", &file.oidc_domains.as_ref().map(|all| all.join(", ")), None)?;
    let default_role = text("oidc_default_role", &file.oidc_default_role, None)?;
    let roles = read_roles(&file.oidc_roles)?;
    let shown = file.oidc_roles.iter().map(|(group, role)| format!("{group}: {role}"));
    let source = if file.oidc_roles.is_empty() { "default" } else { "file" };
    let value = shown.collect::<Vec<_>>().join(", ");
    layers.values.push(ConfigValue { key: "oidc_roles".to_owned(), value, source });
    let oidc = match (issuer, client_id) {
        (None, None) => None,
        (Some(issuer), Some(client_id)) => {
            check_issuer(&issuer)?;
            if !scopes.split(' ').any(|scope| scope == "openid") {
                return Err(wrong(format!("oidc_scopes is '{scopes}'; 'openid' must be one of them")));
            }
            Some(Oidc {
                issuer,
                client_id,
                client_secret: secret.map(|path| read_secret(&folder.join(path))).transpose()?,
                scopes,
                domains: domains.map(|text| split(&text)).unwrap_or_default(),
                groups_claim,
                roles,
                default_role: default_role.map(|text| role("oidc_default_role", &text)).transpose()?,
            })
        }
        (Some(_), None) => return Err(wrong("oidc_issuer is set and oidc_client_id is not".to_owned())),
        (None, Some(_)) => return Err(wrong("oidc_client_id is set and oidc_issuer is not".to_owned())),
    };
    Ok(SignInOptions { oidc, session_s: session_s as i64 })
}

/// What a provider says is only worth something where nobody stands in between.
fn check_issuer(issuer: &str) -> Result<(), ServerError> {
    let host = issuer.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
    let is_here = host.is_some_and(|host| host == "localhost" || host == "127.0.0.1");
    if (issuer.starts_with("https://") || is_here) && !issuer.contains(['?', '#', ' ']) {
        return Ok(());
    }
    Err(wrong(format!(
        "oidc_issuer is '{issuer}'; it must be an https address (or http on this machine), as the provider's tokens have it"
    )))
}

fn read_secret(path: &Path) -> Result<String, ServerError> {
    let fail = |source| ServerError::File { operation: "read", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(fail)?;
    let text = text.trim();
    if text.is_empty() || text.len() > LARGEST_SECRET || text.chars().any(char::is_control) {
        return Err(wrong(format!("the file {} must hold the client's secret, on one line", path.display())));
    }
    Ok(text.to_owned())
}

fn read_roles(table: &BTreeMap<String, String>) -> Result<BTreeMap<String, Role>, ServerError> {
    table
        .iter()
        .map(|(group, text)| Ok((group.clone(), role(&format!("oidc_roles.\"{group}\""), text)?)))
        .collect()
}

fn role(key: &str, text: &str) -> Result<Role, ServerError> {
    text.parse().map_err(|error| wrong(format!("{key} is '{text}': {error}")))
}

fn split(text: &str) -> Vec<String> {
    let parts = text.split(',').map(|part| part.trim().trim_start_matches('@').to_lowercase());
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use runyard_domain::Role;

    use crate::config::{Config, Flags};

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("server.toml");
        std::fs::write(&file, text).expect("written");
        std::fs::write(dir.path().join("secret"), "s3cret\n").expect("written");
        Config::load(&file, &Flags::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_provider_is_configured() {
        let config = load(
            "oidc_issuer = \"https://id.example\"\noidc_client_id = \"runyard\"\n\
             oidc_client_secret_file = \"secret\"\noidc_domains = [\"@Example.com\"]\nsession_s = 3600\n\
             oidc_default_role = \"basic\"\n[oidc_roles]\n\"gpu team\" = \"dev\"\n",
        );
        let config = config.expect("valid");
        let oidc = config.sign_in.oidc.expect("there is one");
        assert_eq!(oidc.client_secret.as_deref(), Some("s3cret"));
        assert_eq!((oidc.domains, oidc.default_role), (vec!["example.com".to_owned()], Some(Role::Basic)));
        assert_eq!((oidc.roles["gpu team"], config.sign_in.session_s), (Role::Dev, 3600));
        assert!(load("").expect("valid").sign_in.oidc.is_none());
        let shown = format!("{:?}", config.values);
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let both = "oidc_issuer = \"https://id.example\"\noidc_client_id = \"r\"\n";
        for (text, wrong) in [
            ("oidc_issuer = \"https://id.example\"".to_owned(), "oidc_client_id is not"),
            ("oidc_client_id = \"r\"".to_owned(), "oidc_issuer is not"),
            (both.replace("https://", "http://"), "it must be an https address"),
            (both.replace("https://id", "http://localhost.id"), "it must be an https address"),
            (format!("{both}oidc_scopes = \"email\""), "'openid' must be one of them"),
            (format!("{both}oidc_default_role = \"owner\""), "a role is basic, billing, dev or admin"),
            (format!("{both}[oidc_roles]\nx = \"root\""), "oidc_roles.\"x\" is 'root'"),
            (format!("{both}oidc_client_secret_file = \"none\""), "cannot read"),
            ("session_s = 5".to_owned(), "session_s is 5"),
        ] {
            let error = load(&text).expect_err(&text);
            assert!(error.contains(wrong), "{error}");
        }
    }
}
