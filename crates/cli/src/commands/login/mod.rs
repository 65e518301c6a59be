//! `runyard login [URL]`: checks a key, or gets one by signing in at the server's identity provider, keeps it in the
//! credentials file, and makes its server the one that commands talk to.

mod provider;

use std::io::{BufRead, IsTerminal};

use clap::Args;

use crate::client::{Client, ClientError, Key, path};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::errors::{Code, Failure};
use crate::output::{text, time};
use crate::secret;
use crate::target::DEFAULT_URL;
use crate::views::Info;

/// Sign in to a server and make it the current one
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard login http://gpu.lan:8080
  echo \"$KEY\" | runyard login http://gpu.lan:8080 --key-stdin
  runyard login https://gpu.example.com --oidc      with the browser of this machine
  runyard login https://gpu.example.com --device    with any browser, by a short code")]
pub struct Login {
    /// The server's address; else --url, the current server, or http://127.0.0.1:8080
    #[arg(value_name = "URL")]
    address: Option<String>,
    /// Read the key from stdin
    #[arg(long, conflicts_with = "key")]
    key_stdin: bool,
    /// Sign in at the server's identity provider, with the browser of this machine
    #[arg(long, conflicts_with_all = ["key", "key_stdin"])]
    oidc: bool,
    /// Sign in at the server's identity provider, with any browser and a short code
    #[arg(long, conflicts_with_all = ["key", "key_stdin", "oidc"])]
    device: bool,
}

impl Login {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut credentials = Credentials::load()?;
        let url = (self.address.clone())
            .or_else(|| context.target.url.clone())
            .or_else(|| credentials.current.clone())
            .unwrap_or_else(|| DEFAULT_URL.to_owned());
        if self.oidc || self.device {
            return self.at_provider(&url, credentials, context).await;
        }
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

    /// Signs in at the identity provider and keeps the session.
    async fn at_provider(
        &self,
        url: &str,
        mut credentials: Credentials,
        context: &Context,
    ) -> anyhow::Result<()> {
        let signed_in = if self.device {
            provider::with_device(url, context).await?
        } else {
            provider::with_browser(url, context).await?
        };
        credentials.set(url, Some(signed_in.key));
        credentials.save()?;
        let member = signed_in.member.unwrap_or_default();
        if context.ui.json {
            let document = serde_json::json!({
                "url": url.trim_end_matches('/'),
                "credentials": Credentials::path()?,
                "member": member.email,
                "role": member.role,
                "expiresAt": signed_in.expires_at,
            });
            return context.ui.document(&document.to_string());
        }
        let until = signed_in.expires_at.map_or(String::new(), |at| format!(" until {}", time::date(at)));
        context.ui.note(&format!(
            "signed in to {} as {} ({}){until}",
            text::line(url, 200),
            text::line(&member.email, 254),
            text::line(&member.role, 40)
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
