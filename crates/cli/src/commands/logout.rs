//! `runyard logout`: ends a session at the server, and forgets the key that is kept for it here.

use clap::Args;
use serde_json::json;

use crate::client::{Client, ClientError, Key, path};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::errors::Failure;
use crate::output::text;
use crate::views::Me;

/// Forget the key of a server; a session ends there, too
#[derive(Debug, Args)]
pub struct Logout {
    /// The server's address; else --url, or the current server
    #[arg(value_name = "URL")]
    address: Option<String>,
}

impl Logout {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut credentials = Credentials::load()?;
        let url = self.address.or_else(|| context.target.url.clone()).or_else(|| credentials.current.clone());
        let url = url.ok_or_else(|| Failure::usage("no server is known").hint("runyard logout URL"))?;
        let mut ended = false;
        if let Some(key) = credentials.key(&url) {
            let key = Key { value: key.to_owned(), source: "the credentials file".to_owned() };
            let client = Client::http(&url, Some(key), &context.target.trust())?;
            // One that opens nothing any more has ended already; one of a server that is away ends by itself.
            match client.get(path::api(&["me"])).await {
                Ok(reply) if reply.parse::<Me>()?.session => {
                    client.post("/auth/logout".to_owned(), &json!({})).await?;
                    ended = true;
                }
                Ok(_) | Err(ClientError::Refused(_)) => {}
                Err(error) => context.ui.note(&format!("the server was not told: {error}")),
            }
        }
        credentials.forget(&url);
        credentials.save()?;
        if context.ui.json {
            return context.ui.document(&json!({"url": url, "sessionEnded": ended}).to_string());
        }
        let what = if ended { "the session has ended, and its key" } else { "the key" };
        context.ui.note(&format!("{what} is forgotten here: {}", text::line(&url, 200)));
        Ok(())
    }
}
