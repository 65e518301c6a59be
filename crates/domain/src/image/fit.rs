//! Whether an image fits a machine: its platform, its command, its CUDA. Asked before a release gets traffic, and
//! before each start.

use super::Fault;

/// What an image says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its platform, as `linux/amd64`.
    pub platform: String,
    /// Its entrypoint and command together.
    pub command: Vec<String>,
    /// Where its command starts.
    pub folder: String,
    /// Its environment.
    pub env: Vec<(String, String)>,
}

impl Facts {
    /// A variable of its environment.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The GPU driver of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Driver {
    /// The newest CUDA that it runs.
    pub cuda: (u32, u32),
    /// Its own major version, where known.
    pub major: Option<u32>,
}

/// What a container would need of the machine.
#[derive(Debug, Clone)]
pub struct Needs<'a> {
    /// The image's name, for the message.
    pub image: &'a str,
    /// What the engine runs, as `linux/amd64`.
    pub platform: &'a str,
    /// Something else is run than what the image says.
    pub other_command: bool,
    /// GPUs of each container.
    pub gpus: u32,
    /// The driver, where there is one.
    pub driver: Option<Driver>,
}

/// Finds what would keep a container from running.
pub fn check(facts: &Facts, needs: &Needs<'_>) -> Result<(), Fault> {
    let image = needs.image.to_owned();
    if facts.platform != needs.platform {
        let (has, needs) = (facts.platform.clone(), needs.platform.to_owned());
        return Err(Fault::WrongPlatform { image, has, needs });
    }
    if facts.command.is_empty() && !needs.other_command {
        return Err(Fault::NoCommand { image });
    }
    if let (1.., Some(driver)) = (needs.gpus, needs.driver)
        && let Some(wants) = unmet(facts, driver)
    {
        let has = format!("CUDA {}.{}", driver.cuda.0, driver.cuda.1);
        return Err(Fault::CudaTooOld { image, wants, has });
    }
    Ok(())
}

/// What of the image's wishes the driver does not meet. `NVIDIA_REQUIRE_CUDA` is strict: alternatives divided by
/// spaces, each of conditions divided by commas. Without it only the major version of `CUDA_VERSION` counts: a
/// driver runs what is built for a later minor version of its own.
fn unmet(facts: &Facts, driver: Driver) -> Option<String> {
    if facts.env("NVIDIA_DISABLE_REQUIRE").is_some_and(|value| value == "1" || value == "true") {
        return None;
    }
    if let Some(wish) = facts.env("NVIDIA_REQUIRE_CUDA").filter(|wish| !wish.trim().is_empty()) {
        let met = wish.split_whitespace().any(|way| way.split(',').all(|one| holds(one, driver)));
        return (!met).then(|| wish.split_whitespace().next().unwrap_or(wish).replace("cuda", "CUDA"));
    }
    let (major, minor) = version(facts.env("CUDA_VERSION")?)?;
    (major > driver.cuda.0).then(|| format!("CUDA {major}.{minor}"))
}

/// Whether one condition holds. What we cannot judge (the brand) does.
fn holds(condition: &str, driver: Driver) -> bool {
    let Some(at) = condition.find(['<', '>', '=', '!']) else { return true };
    let (name, rest) = condition.split_at(at);
    let value = rest.trim_start_matches(['<', '>', '=', '!']);
    let sign = &rest[..rest.len() - value.len()];
    let have = match name {
        "cuda" => driver.cuda,
        "driver" => match driver.major {
            Some(major) => (major, u32::MAX),
            None => return false,
        },
        _ => return true,
    };
    let Some((major, minor)) = version(value) else { return true };
    // Of the driver only the first number counts.
    let (have, want) = if name == "driver" { ((have.0, 0), (major, 0)) } else { (have, (major, minor)) };
    match sign {
        ">=" => have >= want,
        ">" => have > want,
        "<=" => have <= want,
        "<" => have < want,
        "!=" => have != want,
        _ => have == want,
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().split('.');
    let major = parts.next()?.parse().ok()?;
    Some((major, parts.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(env: &[(&str, &str)]) -> Facts {
        Facts {
            platform: "linux/amd64".to_owned(),
            command: vec!["python".to_owned()],
            folder: "/".to_owned(),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn needs(gpus: u32) -> Needs<'static> {
        let driver = Some(Driver { cuda: (12, 4), major: Some(550) });
        Needs { image: "i", platform: "linux/amd64", other_command: false, gpus, driver }
    }

    fn code(facts: &Facts, needs: &Needs<'_>) -> &'static str {
        check(facts, needs).map_or_else(|fault| fault.code(), |()| "")
    }

    #[test]
    fn another_platform_and_no_command_are_found() {
        let arm = Facts { platform: "linux/arm64".to_owned(), ..facts(&[]) };
        assert_eq!(code(&arm, &needs(0)), "wrong_platform");
        let mute = Facts { command: Vec::new(), ..facts(&[]) };
        assert_eq!(code(&mute, &needs(0)), "no_command");
        assert_eq!(code(&mute, &Needs { other_command: true, ..needs(0) }), "");
    }

    #[test]
    fn cuda_is_compared_where_gpus_are_wanted() {
        let wish = "cuda>=12.6 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=535,driver<536";
        let newer = facts(&[("NVIDIA_REQUIRE_CUDA", wish)]);
        assert_eq!(code(&newer, &needs(0)), "");
        assert_eq!(code(&newer, &needs(1)), "cuda_too_old");
        let says = check(&newer, &needs(1)).map_err(|fault| fault.sentence());
        assert!(says.is_err_and(|text| text.contains("CUDA>=12.6") && text.contains("CUDA 12.4")));
        let other = wish.replace("535", "550").replace("536", "551");
        assert_eq!(code(&facts(&[("NVIDIA_REQUIRE_CUDA", &other)]), &needs(1)), "");
        let off = [("NVIDIA_REQUIRE_CUDA", wish), ("NVIDIA_DISABLE_REQUIRE", "1")];
        assert_eq!(code(&facts(&off), &needs(1)), "");
    }

    #[test]
    fn a_later_minor_version_runs() {
        assert_eq!(code(&facts(&[("CUDA_VERSION", "12.8.1")]), &needs(1)), "");
        assert_eq!(code(&facts(&[("CUDA_VERSION", "13.0.0")]), &needs(1)), "cuda_too_old");
    }
}
