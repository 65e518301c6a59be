//! What an engine says when something goes wrong, told apart. Engines have no codes for it: their sentences are what
//! there is.

use bollard::errors::Error;
use runyard_domain::image::Fault;
use runyard_domain::registry::Login;

/// The engine's own words.
pub(super) fn words(error: &Error) -> String {
    let text = match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } | Error::DockerContainerWaitError { error, .. } => error.clone(),
        other => other.to_string(),
    };
    text.trim().trim_start_matches("Error response from daemon: ").to_owned()
}

/// The status of the engine's answer, where it gave one.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether the engine was not reached, or went away meanwhile.
fn is_away(error: &Error) -> bool {
    matches!(
        error,
        Error::IOError { .. }
            | Error::HyperResponseError { .. }
            | Error::HyperLegacyError { .. }
            | Error::RequestTimeoutError
            | Error::SocketNotFoundError(_)
    )
}

/// A failure of something that is about no image.
pub(super) fn plain(operation: &str, error: &Error) -> Fault {
    let message = words(error);
    if is_away(error) {
        return Fault::EngineAway { message: format!("cannot {operation}: {message}") };
    }
    Fault::EngineRefused { operation: operation.to_owned(), message }
}

/// A failure to pull an image.
pub(super) fn pulling(image: &str, needs: &str, login: Option<&Login>, error: &Error) -> Fault {
    let message = words(error);
    if is_away(error) {
        return Fault::EngineAway { message };
    }
    match pull_words(image, needs, message) {
        Fault::ImageUnauthorized { image, message, .. } => {
            Fault::ImageUnauthorized { image, message, login: login.map(|login| login.name.clone()) }
        }
        other => other,
    }
}

fn pull_words(image: &str, needs: &str, message: String) -> Fault {
    let (image, said) = (image.to_owned(), message.to_lowercase());
    let has = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    if has(&["no matching manifest", "does not match the specified platform"]) {
        return Fault::WrongPlatform { image, has: "other machines".to_owned(), needs: needs.to_owned() };
    }
    // Docker's own registry answers so for what is not there, too.
    if has(&[
        "repository does not exist",
        "manifest unknown",
        "not found",
        "no such image",
        "invalid reference",
    ]) {
        return Fault::ImageNotFound { image, message };
    }
    if has(&["unauthorized", "authentication required", "no basic auth", "denied", "forbidden", "401", "403"])
    {
        return Fault::ImageUnauthorized { image, message, login: None };
    }
    let gone =
        ["no such host", "connection refused", "timeout", "timed out", "deadline", "unreachable", "tls:"];
    if has(&gone) || has(&["dial tcp", "x509", "server misbehaving", "eof", "toomanyrequests"]) {
        return Fault::RegistryUnreachable { image, message };
    }
    Fault::ImageNotFound { image, message }
}

/// A failure to start a container.
pub(super) fn starting(image: &str, error: &Error) -> Fault {
    if is_away(error) {
        return plain("start the container", error);
    }
    start_words(image, words(error))
}

fn start_words(image: &str, message: String) -> Fault {
    let said = message.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    if has(&["could not select device driver", "nvidia-container", "cdi device", "unresolvable cdi"]) {
        return Fault::GpuUnavailable { message };
    }
    if has(&[
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "exec format error",
    ]) {
        return Fault::CommandNotFound { image: image.to_owned(), message: short(&message) };
    }
    Fault::EngineRefused { operation: "start the container".to_owned(), message }
}

/// The last part of what a runtime says, which is the telling one: `… exec: "x": executable file not found in $PATH`.
fn short(message: &str) -> String {
    let from = message.rfind("exec: ").or_else(|| message.rfind("exec \""));
    let text = from.map_or(message, |at| &message[at..]);
    text.trim_end_matches([':', ' ']).trim_end_matches(": unknown").to_owned()
}

/// Whether a container could not be started because the engine has no init to put before its command.
pub(super) fn lacks_init(error: &Error) -> bool {
    let said = words(error).to_lowercase();
    ["docker-init", "catatonit", "init binary", "tini"].iter().any(|name| said.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_fail_in_enumerated_ways() {
        let cases = [
            ("manifest for x:y not found: manifest unknown: manifest unknown", "image_not_found"),
            (
                "pull access denied for x, repository does not exist or may require 'docker login'",
                "image_not_found",
            ),
            (
                "Head \"https://r/v2/x/manifests/y\": unauthorized: authentication required",
                "image_unauthorized",
            ),
            ("Get \"https://r/v2/\": dial tcp: lookup r on 1.1.1.1:53: no such host", "registry_unreachable"),
            ("no matching manifest for linux/amd64 in the manifest list entries", "wrong_platform"),
        ];
        for (said, code) in cases {
            assert_eq!(pull_words("x:y", "linux/amd64", said.to_owned()).code(), code, "{said}");
        }
    }

    #[test]
    fn starts_fail_in_enumerated_ways() {
        let long = "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \
                    \"pythn\": executable file not found in $PATH: unknown";
        let fault = start_words("x", long.to_owned());
        assert_eq!(fault.code(), "command_not_found");
        let says = fault.sentence();
        assert!(says.ends_with("exec: \"pythn\": executable file not found in $PATH"), "{says}");
        let gpu = "could not select device driver \"nvidia\" with capabilities: [[gpu]]";
        assert_eq!(start_words("x", gpu.to_owned()).code(), "gpu_unavailable");
        assert_eq!(start_words("x", "cannot allocate memory".to_owned()).code(), "engine_refused");
    }
}
