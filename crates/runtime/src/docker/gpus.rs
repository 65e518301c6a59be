//! How an engine is asked for GPUs: by CDI where it offers them so, else by its nvidia driver.

use bollard::models::DeviceRequest;
use runyard_domain::image::Fault;

use super::About;

/// Podman's Docker-like API passes over what it is asked for before this version, and starts containers without.
const PODMAN: u32 = 5;

/// Refuses engines that would start a container without its GPUs and say nothing.
pub(super) fn check(about: &About, gpus: &[u32]) -> Result<(), Fault> {
    let major = about.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if gpus.is_empty() || !about.podman || major.is_none_or(|major| major >= PODMAN) {
        return Ok(());
    }
    let message = format!(
        "Podman {} passes no GPUs on over its API; use Podman {PODMAN} or newer, or Docker",
        about.version
    );
    Err(Fault::GpuUnavailable { message })
}

/// GPUs by their numbers.
pub(super) fn request(about: &About, gpus: &[u32]) -> Option<Vec<DeviceRequest>> {
    if gpus.is_empty() {
        return None;
    }
    let by_cdi: Vec<String> = gpus.iter().map(|gpu| format!("nvidia.com/gpu={gpu}")).collect();
    let offered = by_cdi.iter().all(|name| about.cdi.contains(name));
    let request = if offered || about.podman {
        DeviceRequest { driver: Some("cdi".to_owned()), device_ids: Some(by_cdi), ..DeviceRequest::default() }
    } else {
        DeviceRequest {
            driver: Some("nvidia".to_owned()),
            device_ids: Some(gpus.iter().map(u32::to_string).collect()),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..DeviceRequest::default()
        }
    };
    Some(vec![request])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(about: &About, gpus: &[u32]) -> Option<(Option<String>, Option<Vec<String>>)> {
        let one = request(about, gpus)?.pop()?;
        Some((one.driver, one.device_ids))
    }

    #[test]
    fn gpus_are_asked_for_as_the_engine_offers_them() {
        let ids = |ids: &[&str]| Some(ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        let plain = About::default();
        assert_eq!(asked(&plain, &[]), None);
        assert_eq!(asked(&plain, &[0, 2]), Some((Some("nvidia".to_owned()), ids(&["0", "2"]))));
        let cdi =
            About { cdi: vec!["nvidia.com/gpu=0".to_owned(), "nvidia.com/gpu=all".to_owned()], ..plain };
        assert_eq!(asked(&cdi, &[0]), Some((Some("cdi".to_owned()), ids(&["nvidia.com/gpu=0"]))));
        // One that is not listed is left to the driver.
        assert_eq!(asked(&cdi, &[0, 1]).and_then(|(driver, _)| driver).as_deref(), Some("nvidia"));
        // Podman has no list, and nothing but CDI.
        let podman = About { podman: true, version: "5.4.2".to_owned(), ..About::default() };
        assert_eq!(asked(&podman, &[1]), Some((Some("cdi".to_owned()), ids(&["nvidia.com/gpu=1"]))));
    }

    #[test]
    fn an_old_podman_is_refused_where_gpus_are_wanted() {
        let podman = |version: &str| About { podman: true, version: version.to_owned(), ..About::default() };
        let says = check(&podman("4.3.1"), &[0]).map_err(|fault| fault.sentence());
        assert!(says.is_err_and(|says| says.contains("Podman 4.3.1") && says.contains("Podman 5")));
        assert!(check(&podman("4.3.1"), &[]).is_ok() && check(&podman("5.0.0"), &[0]).is_ok());
        assert!(check(&About { version: "4.3.1".to_owned(), ..About::default() }, &[0]).is_ok());
    }
}
