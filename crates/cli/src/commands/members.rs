//! `runyard members list|show|add|set|remove`, and `runyard whoami`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Map, Value};

use crate::client::{Call, Reply, path};
use crate::context::Context;
use crate::errors::Failure;
use crate::output::{Cell, Facts, Table, Tone, text, time};
use crate::views::{Me, Member, MemberPage};

/// Add, list, change and remove the people of a server
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard members add ann@example.com --role dev              signs in at the identity provider
  runyard members add bob@example.com --role basic --with-key the key on stdout, for bob
  runyard members set ann@example.com --role admin
  runyard members set bob@example.com --disable
  runyard members remove bob@example.com                      with all keys that are bob's")]
pub struct Members {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List members
    #[command(visible_alias = "ls")]
    List,
    /// Show one member
    Show {
        /// The member's e-mail address or id
        #[arg(value_name = "MEMBER")]
        member: String,
    },
    /// Add a member
    Add(Add),
    /// Change a member; what a role may not do any more, none of the member's keys does from then on
    Set(Set),
    /// Remove a member; the member's keys are revoked
    #[command(visible_alias = "rm")]
    Remove {
        /// The member's e-mail address or id
        #[arg(value_name = "MEMBER")]
        member: String,
    },
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Call endpoints and look at them
    Basic,
    /// See what is spent, and nothing of endpoints
    Billing,
    /// Call, deploy, change and remove endpoints
    Dev,
    /// Everything, also keys, members and settings
    Admin,
}

impl Role {
    fn word(self) -> String {
        self.to_possible_value().expect("no role is skipped").get_name().to_owned()
    }
}

#[derive(Debug, Args)]
struct Add {
    /// The e-mail address, by which an identity provider knows the member
    #[arg(value_name = "EMAIL")]
    email: String,
    /// What the member may do
    #[arg(long, value_enum)]
    role: Role,
    /// What people call the member
    #[arg(long)]
    name: Option<String>,
    /// Make a key for the member, too; it is shown this once
    #[arg(long)]
    with_key: bool,
    /// How long that key is valid: 30d, 12h; for ever where nothing is said
    #[arg(long, value_name = "DURATION", value_parser = time::duration, requires = "with_key")]
    expires: Option<Duration>,
}

#[derive(Debug, Args)]
struct Set {
    /// The member's e-mail address or id
    #[arg(value_name = "MEMBER")]
    member: String,
    /// What the member may do
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// What people call the member
    #[arg(long)]
    name: Option<String>,
    /// Another e-mail address
    #[arg(long)]
    email: Option<String>,
    /// Nothing of the member's opens anything until enabled again
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// What the member has opens again what it did
    #[arg(long)]
    enable: bool,
}

impl Members {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what.unwrap_or(What::List) {
            What::List => list(context).await,
            What::Show { member } => {
                let reply = context.client().await?.get(path::api(&["members", &member])).await?;
                print(&reply, context)
            }
            What::Add(add) => add.run(context).await,
            What::Set(set) => set.run(context).await,
            What::Remove { member } => remove(&member, context).await,
        }
    }
}

impl Add {
    /// A key alone goes to stdout, so that a script can catch it.
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut body = Map::new();
        body.insert("email".to_owned(), self.email.into());
        body.insert("role".to_owned(), self.role.word().into());
        if let Some(name) = self.name {
            body.insert("name".to_owned(), name.into());
        }
        if self.with_key {
            body.insert("key".to_owned(), true.into());
        }
        if let Some(expires) = self.expires {
            body.insert("expiresInS".to_owned(), expires.as_secs().into());
        }
        let reply = context.client().await?.post(path::api(&["members"]), &Value::Object(body)).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let member: Member = reply.parse()?;
        let said = format!("{} is a member now, with the role {}", line(&member.email), line(&member.role));
        match &member.key {
            Some(key) => {
                context.ui.note(&format!("{said}; the key is not shown again:"));
                context.ui.line(&text::line(key, 400))
            }
            None => context.ui.line(&said),
        }
    }
}

impl Set {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut body = Map::new();
        let role = self.role.map(Role::word);
        for (name, value) in [("role", role), ("name", self.name), ("email", self.email)] {
            if let Some(value) = value {
                body.insert(name.to_owned(), value.into());
            }
        }
        if self.disable || self.enable {
            body.insert("disabled".to_owned(), self.disable.into());
        }
        if body.is_empty() {
            return Err(Failure::usage("nothing is said that could be changed")
                .hint("--role, --name, --email, --disable or --enable")
                .into());
        }
        let call = Call::new(Method::PATCH, path::api(&["members", &self.member])).json(&body);
        let reply = context.client().await?.send(call).await?;
        print(&reply, context)
    }
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let reply = context.client().await?.all(path::api(&["members"]), "members").await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let members = reply.parse::<MemberPage>()?.members;
    if members.is_empty() {
        context.ui.note("no members: keys alone open this server");
        return Ok(());
    }
    let now = time::now_ms();
    let mut table = Table::new(&["EMAIL", "NAME", "ROLE", "STATE", "KEYS", "SIGNED IN", "ID"]);
    for member in &members {
        let (state, tone) = state(member);
        table.row(vec![
            member.email.as_str().into(),
            member.name.as_str().into(),
            member.role.as_str().into(),
            Cell::toned(state, tone),
            member.keys.to_string().into(),
            signed_in(member, now).into(),
            member.id.as_str().into(),
        ]);
    }
    context.ui.table(&table)
}

async fn remove(member: &str, context: &Context) -> anyhow::Result<()> {
    let call = Call::new(Method::DELETE, path::api(&["members", member]));
    let reply = context.client().await?.send(call).await?;
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let member: Member = reply.parse()?;
    context.ui.line(&format!("removed {}, with {} keys", line(&member.email), member.keys + member.sessions))
}

fn print(reply: &Reply, context: &Context) -> anyhow::Result<()> {
    if context.ui.json {
        return context.ui.document(&reply.text);
    }
    let member: Member = reply.parse()?;
    let now = time::now_ms();
    let (state, tone) = state(&member);
    let mut facts = Facts::default();
    facts.add("name", &member.name);
    facts.add("role", &member.role);
    facts.add("keys", member.keys.to_string());
    facts.add("sessions", member.sessions.to_string());
    facts.add("signed in", signed_in(&member, now));
    facts.add("added", format!("{} ago", time::age(member.created_at, now)));
    let head = format!("member {} · {}\n", line(&member.email), context.ui.out.tone(&state, tone));
    context.ui.write(&format!("{head}{}", facts.render(context.ui.out)))
}

fn state(member: &Member) -> (String, Tone) {
    let tone = if member.state == "active" { Tone::Good } else { Tone::Warn };
    (line(&member.state), tone)
}

fn signed_in(member: &Member, now: i64) -> String {
    member.signed_in_at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", time::age(at, now)))
}

fn line(text: &str) -> String {
    text::line(text, 254)
}

/// Show who you are to the server, and what you may do
#[derive(Debug, Args)]
pub struct Whoami {}

impl Whoami {
    pub async fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client().await?;
        let reply = client.get(path::api(&["me"])).await?;
        if context.ui.json {
            return context.ui.document(&reply.text);
        }
        let me: Me = reply.parse()?;
        let now = time::now_ms();
        let mut facts = Facts::default();
        if let Some(member) = &me.member {
            facts.add("member", line(&member.email));
            facts.add("role", &member.role);
        }
        facts.add("access", &me.access);
        facts.add("endpoints", if me.every_endpoint { "all".to_owned() } else { me.endpoints.join(", ") });
        if let Some(at) = me.expires_at {
            facts.add("valid for", time::age(now, at));
        }
        let name = me.name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&me.who);
        let kind = if me.session { "session" } else { "key" };
        let head = format!("{} · {kind} {}\n", text::line(name, 200), text::line(&me.who, 80));
        context.ui.write(&format!("{head}{}", facts.render(context.ui.out)))
    }
}
