//! `runyard env runpod`: the variables by which RunPod's clients are pointed at this server, for
//! `eval "$(runyard env runpod)"`. Which client reads which is in docs/running.md.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::client::path;
use crate::context::Context;
use crate::errors::Failure;
use crate::views::Info;

/// Print variables that point other programs at this server
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eval \"$(runyard env runpod)\"          this shell's RunPod clients use this server
  runyard env runpod --json")]
pub struct Env {
    #[command(subcommand)]
    whose: Whose,
}

#[derive(Debug, Subcommand)]
enum Whose {
    /// For RunPod's SDKs and tools
    Runpod,
}

impl Env {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let Whose::Runpod = self.whose;
        let client = context.client().await?;
        let url = match &context.target.url {
            Some(url) => url.clone(),
            None => client.get(path::api(&["info"])).await?.parse::<Info>()?.url.unwrap_or_default(),
        };
        let key = context.target.lasting_key(&url)?;
        let variables = of_runpod(url.trim_end_matches('/'), key, context);
        if context.ui.json {
            return context.ui.document(&json!({"variables": variables}).to_string());
        }
        if !variables.contains_key("RUNPOD_API_KEY") {
            context.ui.note("no lasting key is at hand: set RUNPOD_API_KEY to one of 'runyard keys create'");
        }
        for (name, value) in &variables {
            let quoted =
                quote(value).ok_or_else(|| Failure::usage(format!("{name} cannot stand in a shell")))?;
            context.ui.line(&format!("export {name}={quoted}"))?;
        }
        Ok(())
    }
}

fn of_runpod(url: &str, key: Option<String>, context: &Context) -> BTreeMap<&'static str, String> {
    let at = |rest: &str| format!("{url}{rest}");
    let mut variables = BTreeMap::from([
        ("RUNPOD_ENDPOINT_BASE_URL", at("/v2")),
        ("RUNPOD_SERVERLESS_API_URL", at("/v2")),
        ("RUNPOD_BASE_URL", at("/v2")),
        ("RUNPOD_API_BASE_URL", at("")),
        ("RUNPOD_REST_API_URL", at("/v1")),
        ("RUNPOD_GRAPHQL_URL", at("/graphql")),
        ("RUNPOD_PUBLIC_GRAPHQL_URL", at("/graphql")),
        ("RUNPOD_AUTHED_GRAPHQL_URL", at("/graphql")),
        ("RUNPOD_HAPI_URL", at("")),
        ("RUNPOD_CONSOLE_URL", at("")),
    ]);
    variables.extend(key.map(|key| ("RUNPOD_API_KEY", key)));
    if let Some(file) = context.target.trust().authorities.filter(|_| url.starts_with("https:")) {
        // Python's requests, everything on OpenSSL, Node.
        for name in ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
            variables.insert(name, file.display().to_string());
        }
    }
    variables
}

/// A value as a shell takes it; `None` where it has a line break.
fn quote(value: &str) -> Option<String> {
    (!value.contains(['\n', '\r', '\0'])).then(|| format!("'{}'", value.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_one_word_of_a_shell() {
        assert_eq!(quote("http://x/v2").as_deref(), Some("'http://x/v2'"));
        assert_eq!(quote("a'; rm -rf $HOME").as_deref(), Some(r"'a'\''; rm -rf $HOME'"));
        assert_eq!(quote("a\nb"), None);
    }
}
