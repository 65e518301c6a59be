//! `runyard templates list|show|create|set|rm`: containers that are described once.

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::{Call, Client, Reply, path};
use crate::commands::deploy::plan;
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::output::{Facts, Table, text};
use crate::views::Template;

/// Describe containers once, for endpoints that are made of them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard templates create sd --image ghcr.io/me/sd:v1 --env MODE=fast
  runyard templates set sd --image ghcr.io/me/sd:v2
  runyard templates rm sd --yes

Who makes an endpoint of a template gets a copy: changing or removing the template changes no endpoint.")]
pub struct Templates {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List templates, oldest first
    #[command(visible_alias = "ls")]
    List,
    /// Show a template
    Show {
        /// Its id or name
        #[arg(value_name = "TEMPLATE")]
        template: String,
    },
    /// Make a template
    Create {
        /// What to call it
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// Change a template; what is not named stays
    Set {
        /// Its id or name
        #[arg(value_name = "TEMPLATE")]
        template: String,
        /// Another name
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        fields: Fields,
    },
    /// Remove a template
    Rm {
        /// Its id or name
        #[arg(value_name = "TEMPLATE")]
        template: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
struct Fields {
    /// The image, as ghcr.io/me/worker:v1
    #[arg(long, value_name = "REF")]
    image: Option<String>,
    /// What is run instead of the image's own command, as one line
    #[arg(long, value_name = "COMMAND")]
    args: Option<String>,
    /// All of its environment variables, one each; K alone takes the value from here
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,
    /// A port, as 8888/http
    #[arg(long, value_name = "PORT")]
    port: Vec<String>,
    /// The size of its own disk in GB
    #[arg(long, value_name = "GB")]
    disk: Option<u32>,
    /// The registry login that pulls the image
    #[arg(long, value_name = "NAME")]
    registry: Option<String>,
    /// What it runs on: CPU, NVIDIA or AMD
    #[arg(long, value_name = "KIND", value_parser = ["CPU", "NVIDIA", "AMD"])]
    category: Option<String>,
}

impl Fields {
    fn body(self, name: Option<String>) -> anyhow::Result<Value> {
        let env = if self.env.is_empty() { None } else { Some(json!(plan::variables(&self.env)?)) };
        let fields = [
            ("name", name.map(Value::from)),
            ("image", self.image.map(Value::from)),
            ("args", self.args.map(Value::from)),
            ("env", env),
            ("ports", (!self.port.is_empty()).then(|| json!(self.port))),
            ("disk", self.disk.map(Value::from)),
            ("registry", self.registry.map(Value::from)),
            ("category", self.category.map(Value::from)),
        ];
        let body: Map<String, Value> =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        if body.is_empty() {
            return Err(Failure::usage("nothing to set").hint("runyard help templates set").into());
        }
        Ok(Value::Object(body))
    }
}

#[derive(Deserialize)]
struct Listed {
    templates: Vec<Template>,
}

impl Templates {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        match self.what.unwrap_or(What::List) {
            What::List => list(&client, context).await,
            What::Show { template } => print(&find(&client, &template).await?.1, context),
            What::Create { name, fields } => {
                let body = fields.body(Some(name))?;
                print(&client.post(path::api(&["templates"]), &body).await?, context)
            }
            What::Set { template, name, fields } => {
                let body = fields.body(name)?;
                let (found, _) = find(&client, &template).await?;
                let call = Call::new(Method::PATCH, path::api(&["templates", &found.id]));
                print(&client.send(call.json(&body)).await?, context)
            }
            What::Rm { template, yes } => remove(&client, &template, yes, context).await,
        }
    }
}

/// The template of this id or name, as it is.
async fn find(client: &Client, which: &str) -> anyhow::Result<(Template, Reply)> {
    let listed: Listed = client.all(path::api(&["templates"]), "templates").await?.parse()?;
    let found = listed.templates.into_iter().find(|template| template.id == which || template.name == which);
    let Some(found) = found else {
        let failure =
            Failure::new(Code::NotFound, format!("there is no template '{}'", text::line(which, 80)));
        return Err(failure.hint("runyard templates list").into());
    };
    let reply = client.get(path::api(&["templates", &found.id])).await?;
    Ok((reply.parse()?, reply))
}

async fn list(client: &Client, context: &Context) -> anyhow::Result<()> {
    let reply = client.all(path::api(&["templates"]), "templates").await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let templates = reply.parse::<Listed>()?.templates;
    if templates.is_empty() {
        context.ui.note("no templates; 'runyard templates create NAME --image REF' makes one");
        return Ok(());
    }
    let mut table = Table::new(&["ID", "NAME", "IMAGE", "FOR"]);
    for template in &templates {
        table.row(vec![
            template.id.as_str().into(),
            template.name.as_str().into(),
            template.image.as_str().into(),
            template.category.as_str().into(),
        ]);
    }
    context.ui.table(&table)
}

async fn remove(client: &Client, which: &str, yes: bool, context: &Context) -> anyhow::Result<()> {
    let (template, reply) = find(client, which).await?;
    let name = text::line(&template.name, 80);
    if !yes {
        context.confirm(&format!("removing the template '{name}'"), &template.name)?;
    }
    let call = Call::new(Method::DELETE, path::api(&["templates", &template.id]));
    client.send(call.only_if(reply.version.as_deref())).await?;
    if context.ui.json {
        return context.ui.document(&json!({"id": template.id, "removed": true}).to_string());
    }
    context.ui.line(&format!("removed {name}"))
}

fn print(reply: &Reply, context: &Context) -> anyhow::Result<()> {
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let template: Template = reply.parse()?;
    let mut facts = Facts::default();
    facts.add("id", &template.id);
    facts.add("image", &template.image);
    facts.add("args", &template.args);
    facts.add("for", &template.category);
    facts.add("disk", format!("{} GB", template.disk));
    facts.add("ports", template.ports.join(", "));
    facts.add("registry", template.registry.as_deref().unwrap_or_default());
    let env: Vec<String> = template.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    facts.add("env", env.join("\n"));
    let head = format!("template {}\n", text::line(&template.name, 80));
    context.ui.write(&format!("{head}{}", facts.render(context.ui.out)))
}
