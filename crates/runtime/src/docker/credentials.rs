//! What a registry is shown: the login that `docker login` left for this user. Helpers of desktop systems are not
//! asked.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde_json::Value;

/// Docker's own registry, as its configuration names it.
const DEFAULT: &str = "https://index.docker.io/v1/";

/// The login for the registry of an image, where there is one.
pub(super) fn of(image: &str) -> Option<DockerCredentials> {
    let folder = match std::env::var_os("DOCKER_CONFIG") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    let text = std::fs::read_to_string(folder.join("config.json")).ok()?;
    login(&serde_json::from_str(&text).ok()?, registry(image))
}

/// The registry of an image's name: its first part, where that looks like a host.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => DEFAULT,
    }
}

fn login(config: &Value, registry: &str) -> Option<DockerCredentials> {
    let logins = config.get("auths")?.as_object()?;
    let bare = |name: &str| {
        let name = name.trim_start_matches("https://").trim_start_matches("http://");
        name.split('/').next().unwrap_or(name).to_owned()
    };
    let (_, known) = logins.iter().find(|(name, _)| bare(name) == bare(registry))?;
    let text = |key: &str| known.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut found = DockerCredentials {
        serveraddress: Some(registry.to_owned()),
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
    use serde_json::json;

    use super::*;

    #[test]
    fn logins_are_found_by_registry() {
        let config = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0"},
            "ghcr.io": {"username": "you", "password": "p"},
            "empty.example": {},
        }});
        let user = |image: &str| login(&config, registry(image)).and_then(|found| found.username);
        assert_eq!(user("me/image:1").as_deref(), Some("me"));
        assert_eq!(user("python").as_deref(), Some("me"));
        assert_eq!(user("ghcr.io/you/image").as_deref(), Some("you"));
        assert_eq!(user("empty.example/x"), None);
        assert_eq!(user("quay.io/x/y"), None);
    }
}
