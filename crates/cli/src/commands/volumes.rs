//! `runyard volumes list|show|create|set|rm`: network volumes, which outlive workers.

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::{Call, Client, Reply, path};
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::json::bytes;
use crate::output::{Facts, Table, text};
use crate::views::{DataCenter, Volume};

/// Keep folders that outlive workers, shared by the endpoints that name them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard volumes create models --size 100
  runyard volumes set models --size 200
  runyard volumes rm models

A volume's size is kept and shown, and nothing enforces it; USED is what it holds on the
disk, measured at most once a minute.")]
pub struct Volumes {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List volumes, oldest first
    #[command(visible_alias = "ls")]
    List,
    /// Show a volume
    Show {
        /// Its id or name
        #[arg(value_name = "VOLUME")]
        volume: String,
    },
    /// Make a volume
    Create {
        /// What to call it
        #[arg(value_name = "NAME")]
        name: String,
        /// In GB, 10 to 4096
        #[arg(long, value_name = "GB")]
        size: u32,
    },
    /// Give a volume another name, or make it larger
    Set {
        /// Its id or name
        #[arg(value_name = "VOLUME")]
        volume: String,
        /// Another name
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// In GB, at least what it has
        #[arg(long, value_name = "GB")]
        size: Option<u32>,
    },
    /// Remove a volume with what is in it
    Rm {
        /// Its id or name
        #[arg(value_name = "VOLUME")]
        volume: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    network_volumes: Vec<Volume>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Centers {
    data_centers: Vec<DataCenter>,
}

impl Volumes {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        match self.what.unwrap_or(What::List) {
            What::List => list(&client, context).await,
            What::Show { volume } => {
                let (_, reply) = find(&client, &volume).await?;
                print(&reply, context)
            }
            What::Create { name, size } => {
                let centers: Centers = client.get(path::api(&["catalog", "datacenters"])).await?.parse()?;
                let here = centers.data_centers.first().map(|center| center.id.clone());
                let body = json!({"name": name, "size": size, "dataCenter": here});
                print(&client.post(path::api(&["volumes"]), &body).await?, context)
            }
            What::Set { volume, name, size } => {
                let (found, _) = find(&client, &volume).await?;
                let fields = [("name", name.map(Value::from)), ("size", size.map(Value::from))];
                let body: Map<String, Value> =
                    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
                let call = Call::new(Method::PATCH, path::api(&["volumes", &found.id]));
                print(&client.send(call.json(&body)).await?, context)
            }
            What::Rm { volume, yes } => remove(&client, &volume, yes, context).await,
        }
    }
}

/// The volume of this id or name, as it is.
async fn find(client: &Client, which: &str) -> anyhow::Result<(Volume, Reply)> {
    let listed: Listed = client.all(path::api(&["volumes"]), "networkVolumes").await?.parse()?;
    let named: Vec<&Volume> =
        listed.network_volumes.iter().filter(|v| v.id == which || v.name == which).collect();
    let shown = text::line(which, 80);
    match named.as_slice() {
        [one] => {
            let reply = client.get(path::api(&["volumes", &one.id])).await?;
            Ok((reply.parse()?, reply))
        }
        [] => Err(Failure::new(Code::NotFound, format!("there is no network volume '{shown}'"))
            .hint("runyard volumes list")
            .into()),
        many => {
            Err(Failure::usage(format!("{} volumes are called '{shown}': name one by its id", many.len()))
                .hint("runyard volumes list")
                .into())
        }
    }
}

async fn list(client: &Client, context: &Context) -> anyhow::Result<()> {
    let reply = client.all(path::api(&["volumes"]), "networkVolumes").await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let volumes = reply.parse::<Listed>()?.network_volumes;
    if volumes.is_empty() {
        context.ui.note("no network volumes; 'runyard volumes create NAME --size GB' makes one");
        return Ok(());
    }
    let mut table = Table::new(&["ID", "NAME", "USED", "SIZE", "WHERE"]);
    for volume in &volumes {
        table.row(vec![
            volume.id.as_str().into(),
            volume.name.as_str().into(),
            used(volume).into(),
            format!("{} GB", volume.size).into(),
            volume.data_center.as_str().into(),
        ]);
    }
    context.ui.table(&table)
}

async fn remove(client: &Client, which: &str, yes: bool, context: &Context) -> anyhow::Result<()> {
    let (volume, reply) = find(client, which).await?;
    let name = text::line(&volume.name, 80);
    if !yes {
        context.confirm(&format!("removing the network volume '{name}' with what is in it"), &volume.name)?;
    }
    let call = Call::new(Method::DELETE, path::api(&["volumes", &volume.id]));
    client.send(call.only_if(reply.version.as_deref())).await?;
    if context.ui.json {
        return context.ui.document(&json!({"id": volume.id, "removed": true}).to_string());
    }
    context.ui.line(&format!("removed {name}"))
}

/// What it holds, as far as that was measured.
fn used(volume: &Volume) -> String {
    volume.used.as_ref().map_or_else(
        || "–".to_owned(),
        |used| format!("{}{}", if used.more { "over " } else { "" }, bytes(used.bytes as usize)),
    )
}

fn print(reply: &Reply, context: &Context) -> anyhow::Result<()> {
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let volume: Volume = reply.parse()?;
    let mut facts = Facts::default();
    facts.add("id", &volume.id);
    facts.add("used", used(&volume));
    facts.add("size", format!("{} GB", volume.size));
    facts.add("where", &volume.data_center);
    facts.add("type", &volume.kind);
    let head = format!("volume {}\n", text::line(&volume.name, 80));
    context.ui.write(&format!("{head}{}", facts.render(context.ui.out)))
}
