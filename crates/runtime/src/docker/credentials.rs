//! What a registry is shown: a login that the caller has, else the one that `docker login` left for this user. Helpers
//! of desktop systems are not asked.

use std::collections::HashMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use runyard_domain::registry::{self, Login};
use serde_json::{Map, Value, json};

/// Docker's own registry, as its configuration names it.
const DOCKER: &str = "https://index.docker.io/v1/";

/// The folder of Docker's configuration.
pub(super) fn folder() -> Option<PathBuf> {
    match std::env::var_os("DOCKER_CONFIG") {
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")),
    }
}

/// Docker's configuration, where there is one.
fn config() -> Option<Value> {
    let text = std::fs::read_to_string(folder()?.join("config.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// What the registry of an image is shown.
pub(super) fn of(image: &str, login: Option<&Login>) -> Option<DockerCredentials> {
    match login {
        Some(login) => Some(shown(login)),
        None => left_for(&config()?, &registry::host_of(image)),
    }
}

/// What a build shows to registries: these logins, and for others what `docker login` left.
pub(super) fn of_build(logins: &[Login]) -> HashMap<String, DockerCredentials> {
    let config = config();
    let mut all = HashMap::new();
    for name in config.iter().flat_map(left).map(|(name, _)| name) {
        let host = registry::server_of(name);
        if let Some(known) = host.and_then(|host| left_for(config.as_ref()?, &host)) {
            all.insert(key(&registry::server_of(name).unwrap_or_default()), known);
        }
    }
    all.extend(logins.iter().map(|login| (key(&login.server), shown(login))));
    all
}

/// Docker's configuration with these logins before its own, for its command line.
pub(super) fn configuration(logins: &[Login]) -> Value {
    with_logins(config(), logins)
}

fn with_logins(config: Option<Value>, logins: &[Login]) -> Value {
    let mut config = match config {
        Some(Value::Object(config)) => config,
        _ => Map::new(),
    };
    let mut auths = match config.remove("auths") {
        Some(Value::Object(auths)) => auths,
        _ => Map::new(),
    };
    for login in logins {
        auths.retain(|name, _| registry::server_of(name).as_deref() != Some(login.server.as_str()));
        let pair = STANDARD.encode(format!("{}:{}", login.username, login.password));
        auths.insert(key(&login.server), json!({"auth": pair}));
        if let Some(Value::Object(helpers)) = config.get_mut("credHelpers") {
            helpers.retain(|name, _| registry::server_of(name).as_deref() != Some(login.server.as_str()));
        }
    }
    // A store would be asked instead of what stands here.
    config.remove("credsStore");
    config.insert("auths".to_owned(), Value::Object(auths));
    Value::Object(config)
}

/// How Docker names a registry in its configuration.
fn key(host: &str) -> String {
    if host == registry::DOCKER { DOCKER.to_owned() } else { host.to_owned() }
}

fn shown(login: &Login) -> DockerCredentials {
    DockerCredentials {
        username: Some(login.username.clone()),
        password: Some(login.password.clone()),
        serveraddress: Some(key(&login.server)),
        ..DockerCredentials::default()
    }
}

/// The logins that `docker login` left.
fn left(config: &Value) -> impl Iterator<Item = (&String, &Value)> {
    config.get("auths").and_then(Value::as_object).into_iter().flatten()
}

fn left_for(config: &Value, host: &str) -> Option<DockerCredentials> {
    let (_, known) = left(config).find(|(name, _)| registry::server_of(name).as_deref() == Some(host))?;
    let text = |key: &str| known.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut found = DockerCredentials {
        serveraddress: Some(key(host)),
        identitytoken: text("identitytoken").map(str::to_owned),
        username: text("username").map(str::to_owned),
        password: text("password").map(str::to_owned),
        ..DockerCredentials::default()
    };
    if let Some(pair) = text("auth") {
        let pair = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        found.username = Some(user.to_owned());
        found.password = Some(password.to_owned());
    }
    let knows = found.username.is_some() || found.identitytoken.is_some();
    knows.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Value {
        json!({"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0"},
            "ghcr.io": {"username": "you", "password": "p"},
            "empty.example": {},
        }, "credsStore": "desktop", "credHelpers": {"ghcr.io": "x", "quay.io": "y"}, "proxies": {}})
    }

    #[test]
    fn logins_are_found_by_registry() {
        let config = config();
        let user =
            |image: &str| left_for(&config, &registry::host_of(image)).and_then(|found| found.username);
        assert_eq!(user("me/image:1").as_deref(), Some("me"));
        assert_eq!(user("python").as_deref(), Some("me"));
        assert_eq!(user("ghcr.io/you/image").as_deref(), Some("you"));
        assert_eq!(user("empty.example/x"), None);
        assert_eq!(user("quay.io/x/y"), None);
    }

    #[test]
    fn a_login_of_ours_takes_the_place_of_one_that_was_left() {
        let login = Login {
            name: "gh".to_owned(),
            server: "ghcr.io".to_owned(),
            username: "bot".to_owned(),
            password: "token".to_owned(),
        };
        assert_eq!(of("ghcr.io/x/y", Some(&login)).and_then(|found| found.username).as_deref(), Some("bot"));
        let hub = Login { server: registry::DOCKER.to_owned(), ..login.clone() };
        let merged = with_logins(Some(config()), &[login, hub]);
        assert_eq!(merged["auths"]["ghcr.io"]["auth"], STANDARD.encode("bot:token"));
        assert_eq!(merged["auths"][DOCKER]["auth"], STANDARD.encode("bot:token"));
        assert_eq!(merged["credHelpers"], json!({"quay.io": "y"}));
        assert!(merged.get("credsStore").is_none() && merged["proxies"].is_object());
    }
}
