//! `runyard service`: the server as a unit of systemd. The unit ends the server alone: its agent and the workers live
//! on through a restart, as they do without systemd.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::commands::serving;
use crate::context::Context;
use crate::errors::{Code, Failure};
use crate::files;

/// Run the server under systemd
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runyard service print --data /srv/runyard          the unit, to look at or to put where you like
  sudo runyard service install --data /srv/runyard   for the machine, started now and at boot
  runyard service install --user                     for you; 'loginctl enable-linger' keeps it when you log out")]
pub struct Service {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the unit
    Print(Which),
    /// Write the unit, start it, and have it started at boot
    Install {
        #[command(flatten)]
        which: Which,
        /// Write the unit and leave the rest to you
        #[arg(long)]
        no_start: bool,
    },
    /// Stop the server and remove the unit; the data stays
    Remove(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// A unit of yours in place of one of the machine
    #[arg(long)]
    user: bool,
    /// The unit's name
    #[arg(long, default_value = "runyard", value_name = "NAME")]
    name: String,
}

impl Service {
    pub fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Print(which) => context.ui.write(&which.unit(context)?),
            What::Install { which, no_start } => which.install(no_start, context),
            What::Remove(which) => which.remove(context),
        }
    }
}

impl Which {
    /// The unit's text.
    fn unit(&self, context: &Context) -> anyhow::Result<String> {
        let program = serving::this_program()?;
        let (data, _) = serving::data_dir(context, "runyard")?;
        let program = word(&program)?;
        Ok(text(&program, &word(&data)?, self.user))
    }

    /// Where the unit lies.
    fn path(&self) -> anyhow::Result<PathBuf> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_@.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(is_plain) {
            return Err(Failure::usage(format!("'{}' cannot name a unit", self.name.escape_debug())).into());
        }
        let folder = if self.user {
            files::config_dir()?.with_file_name("systemd").join("user")
        } else {
            PathBuf::from("/etc/systemd/system")
        };
        Ok(folder.join(format!("{}.service", self.name)))
    }

    fn install(&self, no_start: bool, context: &Context) -> anyhow::Result<()> {
        let (path, unit) = (self.path()?, self.unit(context)?);
        let folder = path.parent().unwrap_or(Path::new("/"));
        let written = std::fs::create_dir_all(folder).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            std::io::Write::write_all(&mut file, unit.as_bytes())?;
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
            file.persist(&path).map(drop).map_err(|error| error.error)
        });
        written.map_err(|error| {
            Failure::new(Code::Failure, format!("cannot write {}", path.display()))
                .cause(error.to_string())
                .hint("sudo, for a unit of the machine; --user, for one of yours")
        })?;
        if !no_start {
            self.systemctl(&["daemon-reload"])?;
            self.systemctl(&["enable", "--now", &self.name])?;
        }
        if context.ui.json {
            return context.ui.document(&json!({"unit": path, "started": !no_start}).to_string());
        }
        context.ui.note(&if no_start {
            format!("next: systemctl{} enable --now {}", self.scope(), self.name)
        } else {
            format!("it runs; journalctl{} -u {} shows its log", self.scope(), self.name)
        });
        context.ui.line(&path.display().to_string())
    }

    fn remove(&self, context: &Context) -> anyhow::Result<()> {
        let path = self.path()?;
        if !path.is_file() {
            return Err(Failure::new(Code::NotFound, format!("there is no {}", path.display())).into());
        }
        self.systemctl(&["disable", "--now", &self.name])?;
        std::fs::remove_file(&path)?;
        self.systemctl(&["daemon-reload"])?;
        context.ui.note("the data directory stays as it is; its agent ends five minutes after the server");
        context.ui.line(&path.display().to_string())
    }

    fn scope(&self) -> &'static str {
        if self.user { " --user" } else { "" }
    }

    fn systemctl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new("systemctl");
        if self.user {
            command.arg("--user");
        }
        let what = format!("systemctl{} {}", self.scope(), arguments.join(" "));
        let failed = |why: String| Failure::new(Code::Failure, format!("{what} did not work")).cause(why);
        let done = command.args(arguments).output().map_err(|error| failed(error.to_string()))?;
        if done.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        Err(failed(words).hint("--no-start only writes the unit").into())
    }
}

/// A path as a word of a unit.
fn word(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().filter(|text| !text.contains(['\n', '\r']));
    let text = text.ok_or_else(|| Failure::usage(format!("{} cannot stand in a unit", path.display())))?;
    let escaped = text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    Ok(if escaped.contains([' ', '\t', ';']) { format!("\"{escaped}\"") } else { escaped })
}

fn text(program: &str, data: &str, user: bool) -> String {
    let hardening = if user {
        ""
    } else {
        "\
# What neither the server nor its workers need. Nothing here keeps workers from GPUs, from other users' ids, or from
# namespaces of their own.
ProtectSystem=full
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectHostname=yes
LockPersonality=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"
    };
    let (after, target) = if user {
        ("", "default.target")
    } else {
        ("After=network-online.target docker.service\nWants=network-online.target\n", "multi-user.target")
    };
    format!(
        "\
# Written by runyard service.
[Unit]
Description=runyard, a serverless GPU cloud of one's own
{after}
[Service]
Type=notify
ExecStart={program} up --data {data}
# Certificates are read again.
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1
# The database may have to be brought up to date first.
TimeoutStartSec=15min
# Longer than drain_grace_s.
TimeoutStopSec=2min
# The agent and the workers go on while the server is away, for five minutes.
KillMode=process
# A worker that is killed for want of memory is no reason to end the server.
OOMPolicy=continue
LimitNOFILE=1048576
TasksMax=infinity
{hardening}
[Install]
WantedBy={target}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_words_of_a_unit() {
        let word = |text: &str| word(Path::new(text)).expect("a word");
        assert_eq!(word("/srv/runyard"), "/srv/runyard");
        assert_eq!(word("/srv/my data/100%"), "\"/srv/my data/100%%\"");
        assert!(super::word(Path::new("/srv/a\nExecStart=/bin/sh")).is_err());
    }

    #[test]
    fn a_unit_of_the_machine_is_held_and_one_of_a_user_is_not() {
        let (machine, own) = (text("/usr/bin/runyard", "/d", false), text("/usr/bin/runyard", "/d", true));
        assert!(machine.contains("ExecStart=/usr/bin/runyard up --data /d\n"), "{machine}");
        assert!(machine.contains("ProtectSystem=full") && machine.contains("WantedBy=multi-user.target"));
        assert!(!own.contains("Protect") && own.contains("WantedBy=default.target"), "{own}");
        for unit in [machine, own] {
            assert!(unit.contains("Type=notify") && unit.contains("KillMode=process"), "{unit}");
        }
    }
}
