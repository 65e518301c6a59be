//! Why an image could not be had, a container of it could not be started, a worker did not get what its variables
//! refer to, or found itself unfit. Each has a stable code with a page in `docs/errors/`.

use serde::{Deserialize, Serialize};

use crate::reason::said::brief;

/// What stood between a release and its container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Fault {
    /// Neither the engine nor a registry has the image.
    ImageNotFound {
        /// The image.
        image: String,
        /// What was said.
        message: String,
    },
    /// The registry wants to know who asks.
    ImageUnauthorized {
        /// The image.
        image: String,
        /// What was said.
        message: String,
        /// The registry login that was shown, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<String>,
    },
    /// The registry does not answer.
    RegistryUnreachable {
        /// The image.
        image: String,
        /// What was said.
        message: String,
    },
    /// The image is for other machines.
    WrongPlatform {
        /// The image.
        image: String,
        /// What it is for, as `linux/arm64`.
        has: String,
        /// What the engine runs.
        needs: String,
    },
    /// The image has neither a command nor an entrypoint.
    NoCommand {
        /// The image.
        image: String,
    },
    /// The program that the container shall run is not in the image, or cannot be run.
    CommandNotFound {
        /// The image.
        image: String,
        /// What was said.
        message: String,
    },
    /// The image wants a newer CUDA than the driver has.
    CudaTooOld {
        /// The image.
        image: String,
        /// What it wants.
        wants: String,
        /// What the machine has.
        has: String,
    },
    /// The engine cannot give GPUs to containers.
    GpuUnavailable {
        /// What was said.
        message: String,
    },
    /// There is no engine, or it went away.
    EngineAway {
        /// What was said.
        message: String,
    },
    /// The engine did not do it.
    EngineRefused {
        /// What was tried.
        operation: String,
        /// What was said.
        message: String,
    },
    /// A variable refers to a secret that is not there, or cannot be opened.
    SecretMissing {
        /// The variable.
        variable: String,
        /// The secret; `None` where it is the variable's own value that cannot be opened.
        secret: Option<String>,
    },
    /// The worker looked whether it is fit to work, and found that it is not.
    Unfit {
        /// Which check failed, and how.
        message: String,
    },
}

/// What the SDK prints of a check that failed.
const CHECK_FAILED: &str = "Fitness check failed: ";

impl Fault {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ImageNotFound { .. } => "image_not_found",
            Self::ImageUnauthorized { .. } => "image_unauthorized",
            Self::RegistryUnreachable { .. } => "registry_unreachable",
            Self::WrongPlatform { .. } => "wrong_platform",
            Self::NoCommand { .. } => "no_command",
            Self::CommandNotFound { .. } => "command_not_found",
            Self::CudaTooOld { .. } => "cuda_too_old",
            Self::GpuUnavailable { .. } => "gpu_unavailable",
            Self::EngineAway { .. } => "engine_away",
            Self::EngineRefused { .. } => "engine_refused",
            Self::SecretMissing { .. } => "secret_missing",
            Self::Unfit { .. } => "fitness_check_failed",
        }
    }

    /// What the last lines of a worker say of a fitness check that failed; of several, the last. SDKs before 1.11 tell it
    /// by their output alone: `Fitness check failed: NAME | ERROR`.
    pub fn unfit(last_lines: &[String]) -> Option<Self> {
        let said = last_lines.iter().rev().find_map(|line| line.trim().strip_prefix(CHECK_FAILED))?;
        let (check, error) = said.split_once(" | ").unwrap_or((said, "it did not say why"));
        Some(Self::Unfit { message: format!("check '{}' failed: {}", brief(check), brief(error)) })
    }

    /// The secret that is missing, where one is.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::SecretMissing { secret, .. } => secret.as_deref(),
            _ => None,
        }
    }

    /// One sentence for people.
    pub fn sentence(&self) -> String {
        match self {
            Self::ImageNotFound { image, message } => {
                format!("the image {image} is not here and cannot be pulled: {message}")
            }
            Self::ImageUnauthorized { image, message, login: Some(login) } => {
                format!(
                    "the registry does not give out the image {image} to the registry login '{login}': {message}; replace its password with 'runyard registries add {login} --replace'"
                )
            }
            Self::ImageUnauthorized { image, message, login: None } => {
                format!(
                    "the registry does not give out the image {image}: {message}; add a login for it with 'runyard registries add NAME --server {} --username USER'",
                    crate::registry::host_of(image)
                )
            }
            Self::RegistryUnreachable { image, message } => {
                format!("the registry of the image {image} does not answer: {message}")
            }
            Self::WrongPlatform { image, has, needs } => format!(
                "the image {image} is for {has} and this machine runs {needs}: build it with --platform {needs}"
            ),
            Self::NoCommand { image } => format!(
                "the image {image} says nothing of what to run: give its Dockerfile a CMD or an ENTRYPOINT, or deploy it with --command"
            ),
            Self::CommandNotFound { image, message } => {
                format!("the image {image} cannot run its command: {message}")
            }
            Self::CudaTooOld { image, wants, has } => {
                format!(
                    "the image {image} wants {wants} and this machine's driver has {has}: update the driver, or build on an older CUDA"
                )
            }
            Self::GpuUnavailable { message } => {
                format!(
                    "the container engine cannot give GPUs to containers: {message}; install nvidia-container-toolkit"
                )
            }
            Self::EngineAway { message } => format!("the container engine is away: {message}"),
            Self::EngineRefused { operation, message } => {
                format!("the container engine could not {operation}: {message}")
            }
            Self::SecretMissing { variable, secret: Some(secret) } => format!(
                "the variable {variable} needs the secret {secret}, which is not there: 'runyard secret set {secret}' makes it"
            ),
            Self::SecretMissing { variable, secret: None } => format!(
                "the value of the secure variable {variable} cannot be opened: set it again with 'runyard endpoints set ENDPOINT --secret-env {variable}'"
            ),
            Self::Unfit { message } => format!("the worker is not fit to work: its {message}"),
        }
    }

    /// Whether it says something of the release, and not of the machine below it: another machine, or the same one
    /// later, would fail as well.
    pub fn is_its_own(&self) -> bool {
        !matches!(
            self,
            Self::RegistryUnreachable { .. }
                | Self::GpuUnavailable { .. }
                | Self::EngineAway { .. }
                | Self::EngineRefused { .. }
                | Self::SecretMissing { .. }
        )
    }
}
