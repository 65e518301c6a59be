//! `runyard examples EP ls|save|rm`: inputs that are kept with an endpoint under a name.

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Call, Client, path};
use crate::commands::run::input;
use crate::context::Context;
use crate::output::{Table, json, text, time};

/// Keep inputs with an endpoint under names, to send them again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard examples t2i ls
  runyard examples t2i save 'a boat' -i prompt=\"a red boat\" -i seed=7
  runyard run t2i --example 'a boat'
  runyard examples t2i rm 'a boat'

Beside those that were saved there are the test requests of the code that serves: test_input.json, .runpod/tests.json.")]
pub struct Examples {
    /// The endpoint's name or id
    #[arg(value_name = "ENDPOINT")]
    endpoint: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List them
    #[command(name = "ls", visible_alias = "list")]
    List,
    /// Keep an input under a name; the one before it is replaced
    Save {
        /// What to call it
        #[arg(value_name = "NAME")]
        name: String,
        /// One value of the input, as for 'runyard run'
        #[arg(short, long = "input", value_name = "KEY=VALUE", conflicts_with = "data_json")]
        input: Vec<String>,
        /// The input as JSON, or a whole request with the key 'input'; @FILE reads a file, - reads stdin
        #[arg(short = 'd', long = "json-input", id = "data_json", value_name = "JSON|@FILE|-")]
        data: Option<String>,
    },
    /// Remove one that was saved
    Rm {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Deserialize)]
struct Listed {
    examples: Vec<Example>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Example {
    name: String,
    source: String,
    updated_at: Option<i64>,
    input: Box<RawValue>,
}

impl Examples {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let place = |name: &str| path::api(&["endpoints", &self.endpoint, "examples", name]);
        match &self.what {
            What::List => self.list(&client, context).await,
            What::Save { name, input, data } => {
                let body = input::request(input, data.as_deref())?;
                #[derive(Deserialize)]
                struct Whole {
                    input: Box<RawValue>,
                }
                let whole: Whole = serde_json::from_str(&body)?;
                let body = format!("{{\"input\":{}}}", whole.input.get());
                let call = Call::new(Method::PUT, place(name)).body("application/json", body.into());
                let reply = client.send(call).await?;
                if context.ui.json {
                    return context.ui.document(&reply.text);
                }
                context.ui.line(&format!(
                    "kept; runyard run {} --example '{}'",
                    text::line(&self.endpoint, 80),
                    text::line(name, 80)
                ))
            }
            What::Rm { name } => {
                let reply = client.send(Call::new(Method::DELETE, place(name))).await?;
                if context.ui.json {
                    return context.ui.document(&reply.text);
                }
                context.ui.line(&format!("removed {}", text::line(name, 80)))
            }
        }
    }

    async fn list(&self, client: &Client, context: &Context) -> anyhow::Result<()> {
        let reply = client.all(path::api(&["endpoints", &self.endpoint, "examples"]), "examples").await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let examples = reply.parse::<Listed>()?.examples;
        if examples.is_empty() {
            context.ui.note("no examples; 'runyard examples EP save NAME -i key=value' keeps one");
            return Ok(());
        }
        let mut table = Table::new(&["NAME", "FROM", "KEPT", "INPUT"]);
        for example in &examples {
            table.row(vec![
                example.name.as_str().into(),
                example.source.as_str().into(),
                example.updated_at.map_or_else(|| "–".to_owned(), |at| time::age(at, time::now_ms())).into(),
                text::line(&json::compact(example.input.get()), 80).into(),
            ]);
        }
        context.ui.table(&table)
    }
}

/// The request that an example is.
pub async fn request(client: &Client, endpoint: &str, name: &str) -> anyhow::Result<String> {
    let reply = client.get(path::api(&["endpoints", endpoint, "examples", name])).await?;
    let example: Example = reply.parse()?;
    Ok(format!("{{\"input\":{}}}", example.input.get()))
}
