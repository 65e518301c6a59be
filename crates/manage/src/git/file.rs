//! The `runyard.toml` of a commit: what its folder says of the endpoint, with the same rule as where somebody applies it.
//! The file is the whole truth, but for what the connection itself says: the endpoint, the handler or Dockerfile, and
//! its variables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use runyard_domain::endpoint::Managed;
use runyard_domain::git::{Connection, Part, Target};
use runyard_domain::{Settings, Timestamp, secret};
use runyard_project::{FILE, FileError, LARGEST, Source, Wanted, place};
use serde_json::{Map, Value, json};

/// The environment of pull requests, where the file has one of that name.
const PREVIEW: &str = "preview";

/// What a commit's file asks for.
pub(super) struct Said {
    /// The release, as a deploy takes it; without its code.
    pub(super) release: Map<String, Value>,
    /// What the endpoint's record says of it.
    pub(super) managed: Managed,
    /// The Dockerfile that is built.
    pub(super) dockerfile: Option<String>,
    /// Whether a ready image is run, so that the folder's code is not needed.
    pub(super) is_image: bool,
    /// What is not done of it.
    pub(super) remarks: Vec<String>,
}

/// Reads the file of a folder, where there is one. An error says what is wrong, and where.
pub(super) fn read(
    connection: &Connection,
    target: Target,
    endpoint: &str,
    folder: &Path,
    now: Timestamp,
) -> Result<Option<Said>, String> {
    let Some(text) = text(folder)? else { return Ok(None) };
    let part = &connection.part;
    let (mut wanted, own) = wanted(&text, part, target).map_err(|error| error.to_string())?;
    choose(&mut wanted, part)?;
    if target != Target::Main && !own {
        // Nobody pays for workers that wait for a pull request, unless its own part of the file says so.
        wanted.settings = Settings { workers_min: 0, ..wanted.settings };
    }
    wanted.env.extend(part.env.clone());
    let has_dockerfile = folder.join("Dockerfile").is_file();
    let dockerfile = wanted.dockerfile(has_dockerfile).map(str::to_owned);
    if let Some(file) = dockerfile.as_ref().filter(|file| !folder.join(file).is_file()) {
        return Err(format!("the Dockerfile '{file}' is not in this commit"));
    }
    let mut release = wanted.release(has_dockerfile, None);
    let hub = ".runpod/handler.py";
    if dockerfile.is_none() && wanted.source == Source::Folder && folder.join(hub).is_file() {
        release.insert("handler".to_owned(), json!(hub));
    }
    let managed = Managed {
        by: by(connection, &wanted, target),
        at: now,
        release: None,
        settings: wanted.settings.clone(),
        container: Value::Null,
    };
    let is_image = matches!(wanted.source, Source::Image { .. });
    Ok(Some(Said { release, managed, dockerfile, is_image, remarks: remarks(&wanted, target, endpoint) }))
}

/// Refuses what only a pull request asks for. Whoever may push a branch writes its file: it gets no secret, volume or
/// login that its endpoint has not. `main` is what the endpoint has, `env` the variables of what serves there.
pub(super) fn check_preview(
    said: &Said,
    main: &Settings,
    env: &BTreeMap<String, String>,
) -> Result<(), String> {
    let refuse = |what: &str, name: &str| {
        Err(format!("the file of a pull request may name no {what} that its endpoint does not have: {name}"))
    };
    let known: BTreeSet<&str> = env.values().flat_map(|value| secret::references(value)).collect();
    let wanted = said.release.get("env").and_then(Value::as_object).into_iter().flatten();
    let mut references = wanted.filter_map(|(_, value)| value.as_str()).flat_map(secret::references);
    if let Some(name) = references.find(|name| !known.contains(name)) {
        return refuse("secret", name);
    }
    let settings = &said.managed.settings;
    if let Some(volume) =
        settings.network_volume.as_ref().filter(|id| main.network_volume.as_ref() != Some(id))
    {
        return refuse("network volume", volume);
    }
    let (wanted, there) = (&settings.container, &main.container);
    if let Some(volume) = wanted.volumes.iter().find(|volume| !there.volumes.contains(volume)) {
        return refuse("volume", &volume.to_string());
    }
    if !wanted.registry.is_empty() && wanted.registry != there.registry {
        return refuse("registry login", &wanted.registry);
    }
    Ok(())
}

fn text(folder: &Path) -> Result<Option<String>, String> {
    let file = folder.join(FILE);
    match file.symlink_metadata() {
        Err(_) => Ok(None),
        Ok(meta) if !meta.is_file() => Err(format!("{FILE} is no file")),
        Ok(meta) if meta.len() > LARGEST as u64 => Err(FileError::Large.to_string()),
        Ok(_) => {
            std::fs::read_to_string(file).map(Some).map_err(|error| format!("{FILE} cannot be read: {error}"))
        }
    }
}

/// What the file asks for, and whether a pull request has a part of its own in it.
fn wanted(text: &str, part: &Part, target: Target) -> Result<(Wanted, bool), FileError> {
    if target != Target::Main {
        match runyard_project::read(text, Some(PREVIEW)) {
            Err(FileError::NoEnvironment { .. }) => {}
            read => return read.map(|wanted| (wanted, true)),
        }
    }
    runyard_project::read(text, part.environment.as_deref()).map(|wanted| (wanted, false))
}

/// What the connection says goes before the file.
fn choose(wanted: &mut Wanted, part: &Part) -> Result<(), String> {
    if let Some(file) = &part.dockerfile {
        wanted.source = match std::mem::replace(&mut wanted.source, Source::Folder) {
            Source::Dockerfile { args, target, platform, .. } => {
                Source::Dockerfile { file: Some(file.clone()), args, target, platform }
            }
            _ => Source::Dockerfile {
                file: Some(file.clone()),
                args: BTreeMap::new(),
                target: None,
                platform: None,
            },
        };
    } else if let Some(handler) = &part.handler {
        wanted.source = Source::Handler(handler.clone());
    }
    let is_container = matches!(wanted.source, Source::Dockerfile { .. } | Source::Image { .. });
    if is_container && !wanted.python.is_empty() {
        return Err(format!("{FILE} asks for a Python, and the connection for a Dockerfile"));
    }
    Ok(())
}

/// Where the file lies, as `runyard apply` in a checkout of the repository says it.
fn by(connection: &Connection, wanted: &Wanted, target: Target) -> String {
    let prefix = connection.part.path.as_deref().unwrap_or_default();
    let url = connection.remote().map(|remote| remote.url.as_str());
    match target {
        Target::Main => place::of(url, prefix, wanted.environment.as_deref(), true),
        Target::Preview(number) => format!("{} [pull request {number}]", place::of(url, prefix, None, true)),
    }
}

fn remarks(wanted: &Wanted, target: Target, endpoint: &str) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(name) = wanted.name.as_ref().filter(|name| *name != endpoint && target == Target::Main) {
        remarks.push(format!("{FILE} names the endpoint '{name}'; the connection is that of '{endpoint}'"));
    }
    let keys: Vec<&str> = wanted.not_applied.keys().map(String::as_str).collect();
    if !keys.is_empty() {
        remarks.push(format!("not applied, because this server has no budgets yet: {}", keys.join(", ")));
    }
    remarks
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail by panic")]
mod tests {
    use runyard_domain::git::{Origin, Remote, Trigger};
    use runyard_domain::{ConnectionId, EndpointId};

    use super::*;

    const FILE_TEXT: &str = "name = \"t2i\"\n[scale]\nmin = 1\nmax = 2\n[budget]\ndaily = 5\n\
                             [env.staging]\nscale.max = 9\n[env.preview]\nscale.min = 0\nscale.max = 1\n";

    fn connection(part: Part) -> Connection {
        let remote = Remote {
            url: "https://host/me/t2i.git".into(),
            branch: "main".into(),
            on: Trigger::Push,
            released: None,
            api: None,
            poll_s: 60,
            previews: true,
        };
        Connection {
            id: ConnectionId::new("c"),
            endpoint: EndpointId::new("e"),
            created_at: Timestamp(0),
            created_by: "local".into(),
            origin: Origin::Remote(remote),
            part,
            secrets: None,
            previews: Vec::new(),
            builds: Vec::new(),
            trouble: None,
        }
    }

    fn said(text: &str, part: Part, target: Target) -> Result<Option<Said>, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        read(&connection(part), target, "t2i", dir.path(), Timestamp(7))
    }

    fn workers(text: &str, part: Part, target: Target) -> (u32, u32) {
        let settings = said(text, part, target).unwrap().unwrap().managed.settings;
        (settings.workers_min, settings.workers_max)
    }

    #[test]
    fn environments_are_chosen_by_the_connection_and_by_pull_requests() {
        let staging = || Part { environment: Some("staging".into()), ..Part::default() };
        assert_eq!(workers(FILE_TEXT, Part::default(), Target::Main), (1, 2));
        assert_eq!(workers(FILE_TEXT, staging(), Target::Main), (1, 9));
        assert_eq!(workers(FILE_TEXT, staging(), Target::Preview(7)), (0, 1));
        let without = FILE_TEXT.split("[env.preview]").next().unwrap();
        assert_eq!(workers(without, staging(), Target::Preview(7)), (0, 9));
        let error = said("", staging(), Target::Main).err().unwrap();
        assert!(error.contains("no environment 'staging'"), "{error}");
    }

    #[test]
    fn the_connection_goes_before_the_file_and_mistakes_have_a_place() {
        let part = Part {
            path: Some("services/t2i".into()),
            handler: Some("other.py".into()),
            env: [("A".to_owned(), "mine".to_owned())].into(),
            ..Part::default()
        };
        let text = "[build]\nhandler = \"handler.py\"\n[run.env]\nA = \"file\"\nB = \"file\"\n";
        let said_so = said(text, part, Target::Main).unwrap().unwrap();
        assert_eq!(said_so.release["handler"], "other.py");
        assert_eq!(said_so.release["env"], json!({"A": "mine", "B": "file"}));
        assert_eq!(said_so.managed.by, "services/t2i/runyard.toml@https://host/me/t2i");
        let error = said("[scale]\nmaxx = 1\n", Part::default(), Target::Main).err().unwrap();
        assert!(error.starts_with("runyard.toml: line 2, column 1"), "{error}");
        let missing = Part { dockerfile: Some("Dockerfile.gpu".into()), ..Part::default() };
        assert!(said("", missing, Target::Main).err().unwrap().contains("not in this commit"));
    }

    #[test]
    fn pull_requests_get_nothing_that_their_endpoint_has_not() {
        let mut main = Settings { network_volume: Some("v0lume".into()), ..Settings::default() };
        main.container.volumes = vec!["data:/data".parse().unwrap()];
        let env = [("A".to_owned(), "{{ RUNPOD_SECRET_KNOWN }}".to_owned())].into();
        let check = |text: &str| {
            check_preview(&said(text, Part::default(), Target::Preview(7)).unwrap().unwrap(), &main, &env)
        };
        for fine in [
            "",
            "[run]\nsecrets = [\"KNOWN\"]\nnetwork_volume = \"v0lume\"",
            "[run]\nvolumes = { data = \"/data\" }\n[build]\nimage = \"a\"",
        ] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for (text, name) in [
            ("[run]\nsecrets = [\"OTHER\"]", "secret that its endpoint does not have: OTHER"),
            ("[run]\nenv = { X = \"a {{ RUNPOD_SECRET_OTHER }}\" }", "OTHER"),
            ("[run]\nnetwork_volume = \"an0ther1\"", "an0ther1"),
            ("[run]\nvolumes = { more = \"/data\" }\n[build]\nimage = \"a\"", "more:/data"),
            ("[build]\nimage = \"a\"\nregistry = \"hub\"", "hub"),
        ] {
            assert!(check(text).is_err_and(|error| error.contains(name)), "{text}");
        }
    }

    #[test]
    fn what_is_not_done_is_said() {
        let remarks = said(&FILE_TEXT.replace("t2i", "other"), Part::default(), Target::Main);
        let remarks = remarks.unwrap().unwrap().remarks.join("\n");
        assert!(remarks.contains("the connection is that of 't2i'") && remarks.contains("budget.daily"));
    }
}
