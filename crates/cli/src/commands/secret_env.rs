//! `--secret-env`: variables whose values are secret, the same for `deploy`, `endpoints set` and `dev`. The value never
//! stands in the argument: other users of the machine see those, and shells remember them.

use std::collections::BTreeMap;

use clap::Args;

use crate::commands::deploy::plan;
use crate::errors::Failure;
use crate::hidden;
use crate::output::Ui;

/// The flag.
#[derive(Debug, Default, Clone, Args)]
pub struct SecretEnvArgs {
    /// A variable that is secret: its value from this environment, else asked for; K=@FILE from a file, K=- from stdin
    #[arg(long, value_name = "K")]
    secret_env: Vec<String>,
}

/// Where a value comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    Environment,
    File(&'a str),
    Stdin,
}

impl SecretEnvArgs {
    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.secret_env.is_empty()
    }

    /// The variables with their values.
    pub fn read(&self, ui: Ui) -> anyhow::Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let mut has_read_stdin = false;
        for given in &self.secret_env {
            let (name, source) = source(given)?;
            plan::check_variable(name)?;
            let value = match source {
                Source::File(path) => hidden::from_file(path)?,
                Source::Stdin if std::mem::replace(&mut has_read_stdin, true) => {
                    return Err(Failure::usage("only one --secret-env can be read from stdin").into());
                }
                Source::Stdin => hidden::from_stdin()?,
                Source::Environment => match std::env::var(name) {
                    Ok(value) => value,
                    Err(_) => hidden::ask(name, ui).map_err(|error| {
                        Failure::of(&error)
                            .hint(format!("set {name} here, or --secret-env {name}=@FILE, or {name}=-"))
                    })?,
                },
            };
            if value.is_empty() {
                return Err(Failure::usage(format!("the value of --secret-env {name} is empty")).into());
            }
            found.insert(name.to_owned(), value);
        }
        Ok(found)
    }
}

fn source(given: &str) -> Result<(&str, Source<'_>), Failure> {
    match given.split_once('=') {
        None => Ok((given, Source::Environment)),
        Some((name, "-")) => Ok((name, Source::Stdin)),
        Some((name, rest)) => match rest.strip_prefix('@') {
            Some(path) if !path.is_empty() => Ok((name, Source::File(path))),
            _ => Err(Failure::usage(format!(
                "--secret-env {name}=… holds the value itself, which others see in the list of processes"
            ))
            .hint(format!(
                "{name}=… runyard … --secret-env {name}, or {name}=@FILE, or {name}=- and the value on stdin"
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_no_argument() {
        assert_eq!(source("K"), Ok(("K", Source::Environment)));
        assert_eq!(source("K=-"), Ok(("K", Source::Stdin)));
        assert_eq!(source("K=@a=b"), Ok(("K", Source::File("a=b"))));
        for bad in ["K=v", "K=", "K=@"] {
            assert!(source(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_that_was_given_wrongly_is_not_repeated() {
        let failure = source("K=hunter2hunter2").expect_err("an argument");
        assert!(!format!("{failure:?}").contains("hunter2"));
    }
}
