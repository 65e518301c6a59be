//! The part that endpoints, templates and pods have in common on this wire: the container. What its one line of `args`
//! means is read here.

use std::collections::BTreeMap;

use runyard_domain::resource::ContainerConfig;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::reader::Object;
use crate::Manage;
use crate::deploy::check_env;
use crate::problem::Problem;

/// The disk of a container for which none was said, in GB.
const USUAL_DISK_GB: u32 = 10;

/// The fields of a container that a body has.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fields {
    image: Option<String>,
    args: Option<String>,
    disk_gb: Option<u32>,
    env: Option<BTreeMap<String, String>>,
    ports: Option<Vec<String>>,
    #[expect(clippy::option_option, reason = "not said, null, and a value are three things")]
    registry: Option<Option<String>>,
}

impl Fields {
    pub(super) fn read(body: &Object<'_>) -> Self {
        Self {
            image: body.text("image"),
            args: body.text("args"),
            disk_gb: body.whole("disk", 1..=i64::from(u32::MAX)).map(|gb| gb as u32),
            env: body.dictionary("env"),
            ports: body.texts("ports", "a string", |_| true),
            registry: body.nullable("registry"),
        }
    }

    /// The container with these changes.
    pub(super) fn over(self, mut config: ContainerConfig) -> Result<ContainerConfig, Problem> {
        if let Some(image) = self.image {
            config.image = image;
        }
        if let Some(args) = self.args {
            command_of(&args)?;
            config.args = args;
        }
        if let Some(env) = self.env {
            check_env(&env)?;
            config.env = env;
        }
        config.disk_gb = self.disk_gb.or(config.disk_gb);
        config.ports = self.ports.unwrap_or(config.ports);
        config.registry = self.registry.unwrap_or(config.registry);
        Ok(config)
    }

    /// Whether a release would be made anew, be it the same.
    pub(super) fn names_image(&self) -> bool {
        self.image.is_some()
    }
}

/// The fields of a container as this wire shows them.
pub(super) fn view(config: &ContainerConfig) -> Map<String, Value> {
    let fields = [
        ("image", json!(config.image)),
        ("args", json!(config.args)),
        ("disk", json!(config.disk_gb.unwrap_or(USUAL_DISK_GB))),
        ("env", json!(config.env)),
        ("ports", json!(config.ports)),
        ("registry", json!(config.registry)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What is run instead of the image's own: entrypoint and command.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Command {
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) cmd: Option<Vec<String>>,
}

/// Reads `args`: the words of a command as a shell would part them, or `{"entrypoint": […], "cmd": […]}`.
pub(super) fn command_of(args: &str) -> Result<Command, Problem> {
    let args = args.trim();
    if args.is_empty() {
        return Ok(Command::default());
    }
    if args.starts_with('{') {
        return serde_json::from_str(args).map_err(|error| {
            Problem::invalid(format!("'args' is an object without entrypoint and cmd: {error}"))
        });
    }
    let words = shlex::split(args)
        .ok_or_else(|| Problem::invalid("'args' has a quotation mark that is not closed"))?;
    if words.iter().any(|word| word.contains('\0')) {
        return Err(Problem::invalid("'args' holds a zero byte"));
    }
    Ok(Command { entrypoint: None, cmd: Some(words) })
}

impl Manage {
    /// Refuses a container that could not be run here: an image that is no local command and has no engine, or a
    /// registry that there is not.
    pub(super) async fn check_config(&self, config: &ContainerConfig) -> Result<(), Problem> {
        if config.image.trim().is_empty() {
            return Err(Problem::unprocessable(vec!["$.image: must name an image".to_owned()]));
        }
        if let Some(id) = &config.registry {
            self.check_registry(id)?;
        }
        self.can_run(&config.image).await
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use super::*;

    #[test]
    fn args_are_words_or_an_object() {
        let cmd = |args: &str| command_of(args).unwrap().cmd.unwrap_or_default();
        assert_eq!(cmd("python -u 'my handler.py'"), ["python", "-u", "my handler.py"]);
        assert_eq!(command_of("  ").unwrap(), Command::default());
        let both = command_of(r#"{"entrypoint": ["sh", "-c"], "cmd": ["a b"]}"#).unwrap();
        assert_eq!(both.entrypoint.unwrap(), ["sh", "-c"]);
        assert_eq!(both.cmd.unwrap(), ["a b"]);
        for bad in ["'open", "{\"x\": 1}", "{", "a\0b"] {
            assert!(command_of(bad).is_err(), "{bad}");
        }
    }
}
