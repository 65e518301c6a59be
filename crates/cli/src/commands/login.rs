//! `runyard login [URL]`: checks a key and keeps it in the credentials file, and makes its server the one that
//! commands talk to.

use std::io::{BufRead, IsTerminal};

use clap::Args;

use crate::client::{Client, ClientError, Key, path};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::errors::{Code, Failure};
use crate::output::text;
use crate::secret;
use crate::target::DEFAULT_URL;
use crate::views::Info;

/// Sign in to a server and make it the current one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard login http://gpu.lan:8080
  echo \"$KEY\" | runyard login http://gpu.lan:8080 --key-stdin")]
pub struct Login {
    /// The server's address; else --url, the current server, or http://127.0.0.1:8080
    #[arg(value_name = "URL")]
    address: Option<String>,
    /// Read the key from stdin
    #[arg(long, conflicts_with = "key")]
    key_stdin: bool,
}

impl Login {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut credentials = Credentials::load()?;
        let url = (self.address.clone())
            .or_else(|| context.target.url.clone())
            .or_else(|| credentials.current.clone())
            .unwrap_or_else(|| DEFAULT_URL.to_owned());
        let key = match self.given_key(context)? {
            Some(key) => Some(key),
            None if is_open(&url, context).await? => None,
            None => Some(ask_key(&url, context)?),
        };
        check(&url, key.as_deref(), context).await?;
        credentials.set(&url, key);
        credentials.save()?;
        let place = Credentials::path()?;
        if context.ui.json {
            let document = serde_json::json!({"url": url.trim_end_matches('/'), "credentials": place});
            return context.ui.document(&document.to_string());
        }
        context.ui.note(&format!(
            "signed in to {}; the key is in {}",
            text::line(&url, 200),
            place.display()
        ));
        Ok(())
    }

    fn given_key(&self, context: &Context) -> anyhow::Result<Option<String>> {
        if let Some(key) = &context.target.key {
            return Ok(Some(key.clone()));
        }
        if !self.key_stdin {
            return Ok(None);
        }
        let mut key = String::new();
        std::io::stdin().lock().read_line(&mut key)?;
        non_empty(&key).map(Some)
    }
}

/// Whether the server needs no key.
async fn is_open(url: &str, context: &Context) -> anyhow::Result<bool> {
    match Client::http(url, None, &context.target.trust())?.get(path::api(&["info"])).await {
        Ok(reply) => Ok(reply.parse::<Info>()?.open),
        Err(ClientError::Refused(problem)) if problem.status == 401 => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// A key that is kept is a key that works.
async fn check(url: &str, key: Option<&str>, context: &Context) -> anyhow::Result<()> {
    let key = key.map(|value| Key { value: value.to_owned(), source: "this login".to_owned() });
    Client::http(url, key, &context.target.trust())?.get(path::api(&["endpoints"])).await?;
    Ok(())
}

fn ask_key(url: &str, context: &Context) -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() || !context.ui.err_terminal {
        return Err(Failure::new(Code::Denied, format!("{url} needs a key, and nobody can be asked here"))
            .hint("--key-stdin, with the key on stdin")
            .into());
    }
    non_empty(&secret::ask(&format!("API key of {}", text::line(url, 200)))?)
}

fn non_empty(key: &str) -> anyhow::Result<String> {
    let key = key.trim();
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Failure::usage("that is no key").into());
    }
    Ok(key.to_owned())
}
