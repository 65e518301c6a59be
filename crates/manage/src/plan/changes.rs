//! What distinguishes a file's wish from what there is, in the file's own keys.

use std::collections::{BTreeMap, BTreeSet};

use runyard_domain::{Endpoint, Release, Settings};
use runyard_project::{places, typed};
use serde::Serialize;
use serde_json::{Value, json};

use super::Desired;
use crate::container;

/// One value that is another.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    /// The file's key.
    path: String,
    /// What there is.
    old: Value,
    /// What shall be.
    new: Value,
    /// Workers are replaced by those of a new release.
    pub(super) makes_release: bool,
    /// What there is was changed since the file was applied: by hand, or by a deploy.
    drift: bool,
}

/// Everything that differs; where nothing is there yet, what is not as usual.
pub(super) fn all(
    live: Option<&Endpoint>,
    release: Option<&Release>,
    settings: &Settings,
    desired: &Desired,
) -> Vec<Change> {
    let mut found = of_settings(live, settings);
    found.extend(of_variables(live, release, &desired.release.env));
    found.extend(of_code(live, release, desired));
    if live.is_some() && release.is_none() && !found.iter().any(|change| change.makes_release) {
        found.push(Change {
            path: "release".to_owned(),
            old: Value::Null,
            new: json!("the first one"),
            makes_release: true,
            drift: false,
        });
    }
    found
}

fn of_settings(live: Option<&Endpoint>, settings: &Settings) -> Vec<Change> {
    let flat = |settings: &Settings| places::flat(&serde_json::to_value(settings).unwrap_or_default());
    let wanted = flat(settings);
    let usual = Settings::default();
    let there = flat(live.map_or(&usual, |endpoint| &endpoint.settings));
    let applied = live.and_then(|endpoint| endpoint.managed.as_ref()).map(|managed| flat(&managed.settings));
    let differs = wanted.into_iter().filter(|(name, new)| there.get(name) != Some(new));
    differs
        .map(|(name, new)| {
            let old = there.get(&name).cloned().unwrap_or_default();
            let drift = applied.as_ref().is_some_and(|applied| applied.get(&name) != Some(&old));
            Change {
                path: places::key_of(&name).to_owned(),
                old: if live.is_some() { typed(&name, &old) } else { Value::Null },
                new: typed(&name, &new),
                makes_release: live.is_some() && Settings::replaces_workers(&name),
                drift,
            }
        })
        .collect()
}

/// Whether another release serves than the one that the file asked for.
fn was_deployed_by_hand(live: Option<&Endpoint>) -> bool {
    let Some(endpoint) = live else { return false };
    endpoint.managed.as_ref().is_some_and(|managed| managed.release != endpoint.serving)
}

fn of_variables(
    live: Option<&Endpoint>,
    release: Option<&Release>,
    wanted: &BTreeMap<String, String>,
) -> Vec<Change> {
    let none = BTreeMap::new();
    let there = release.map_or(&none, |release| &release.env);
    let names: BTreeSet<&String> = there.keys().chain(wanted.keys()).collect();
    let differing = names.into_iter().filter(|name| there.get(*name) != wanted.get(*name));
    differing
        .map(|name| Change {
            path: format!("run.env.{name}"),
            old: json!(there.get(name)),
            new: json!(wanted.get(name)),
            makes_release: live.is_some(),
            drift: was_deployed_by_hand(live),
        })
        .collect()
}

fn of_code(live: Option<&Endpoint>, release: Option<&Release>, desired: &Desired) -> Vec<Change> {
    let wish = &desired.release;
    let mut found = Vec::new();
    let mut differ = |path: &str, old: Value, new: Value| {
        if old != new {
            let drift = was_deployed_by_hand(live);
            found.push(Change { path: path.to_owned(), old, new, makes_release: true, drift });
        }
    };
    let Some((endpoint, release)) = live.zip(release) else { return found };
    let short = |bundle: &str| json!(bundle.get(..12).unwrap_or(bundle));
    let image = release.launch.as_ref().and_then(|launch| launch.image.as_ref());
    let is_built = image.is_some() && !release.bundle.is_empty();
    match &wish.bundle {
        Some(bundle) => differ("code", short(&release.bundle), short(bundle)),
        None => differ(
            "build.image",
            json!(image.filter(|_| !is_built).map(|image| &image.name)),
            json!(name_of(wish)),
        ),
    }
    if let Some(handler) = wish.handler.as_ref().filter(|_| wish.container.is_none()) {
        differ("build.handler", json!(release.handler), json!(handler.display().to_string()));
    }
    if wish.container.is_none() && image.is_none() {
        let (is, shall) = (&release.python_wish, &wish.python);
        differ("build.python", json!(is.version), json!(shall.version));
        differ("build.requirements", json!(is.requirements), json!(shall.requirements));
    }
    // How an image is made shows in no release: what the file asked for last is compared.
    let asked = endpoint.managed.as_ref().filter(|managed| managed.release == endpoint.serving);
    let made = asked.map_or(Value::Null, |managed| managed.container.clone());
    let wanted = container(wish.container.as_ref());
    if asked.is_some() {
        for part in ["dockerfile", "args", "target", "platform", "entrypoint", "command"] {
            let room = if part == "entrypoint" || part == "command" { "run" } else { "build" };
            differ(&format!("{room}.{part}"), made[part].clone(), wanted[part].clone());
        }
    }
    differ("build", kind(image.is_some()), kind(wish.container.is_some()));
    found
}

fn name_of(wish: &crate::deploy::Request) -> Option<&String> {
    wish.container.as_ref().and_then(|container| container.image.as_ref())
}

fn kind(is_container: bool) -> Value {
    json!(if is_container { "container" } else { "process" })
}

/// How an image is made, without the secrets of its build.
pub(crate) fn container(request: Option<&container::Request>) -> Value {
    let Some(request) = request else { return Value::Null };
    let container::Request { image, dockerfile, args, target, platform, secrets: _, entrypoint, command } =
        request;
    json!({
        "image": image, "dockerfile": dockerfile, "args": args, "target": target, "platform": platform,
        "entrypoint": entrypoint, "command": command,
    })
}

#[cfg(test)]
mod tests {
    use runyard_domain::endpoint::Managed;
    use runyard_domain::image::Image;
    use runyard_domain::release::Launch;
    use runyard_domain::{EndpointId, PythonWish, ReleaseState, Timestamp};

    use super::*;

    /// An endpoint whose release was made of this image request, by its file.
    fn applied(request: &Value) -> (Endpoint, Release) {
        let mut endpoint = Endpoint::new(EndpointId::new("e"), "x".into(), Timestamp(0), Settings::default());
        endpoint.serving = Some(1);
        let asked: container::Request = serde_json::from_value(request.clone()).expect("a request");
        endpoint.managed = Some(Box::new(Managed {
            by: "here".into(),
            at: Timestamp(0),
            release: Some(1),
            settings: Settings::default(),
            container: container(Some(&asked)),
        }));
        let image = Image {
            name: asked.image.clone().unwrap_or_else(|| "built".into()),
            id: "sha256:0".into(),
            digest: None,
            engine: "unix".into(),
            registry: None,
            entrypoint: None,
            command: None,
        };
        let launch = Launch {
            command: Vec::new(),
            code_dir: String::new(),
            in_place: false,
            read_dirs: Vec::new(),
            image: Some(image),
            stands_for: None,
        };
        let release = Release {
            endpoint: endpoint.id.clone(),
            number: 1,
            created_at: Timestamp(0),
            created_by: "local".into(),
            state: ReleaseState::Ready,
            handler: String::new(),
            bundle: if asked.image.is_some() { String::new() } else { "b".repeat(64) },
            environment: String::new(),
            python: String::new(),
            python_wish: PythonWish::default(),
            launch: Some(launch),
            env: BTreeMap::new(),
            secure_env: BTreeMap::new(),
            env_read: Vec::new(),
            gpus: runyard_domain::Gpus::default(),
            given: None,
            note: None,
            commit: None,
            took_ms: None,
        };
        (endpoint, release)
    }

    fn changes(live: &Value, wish: &Value) -> Vec<(String, Value, Value)> {
        let (endpoint, release) = applied(live);
        let mut asked = json!({"container": wish});
        if wish["image"].is_null() {
            asked["bundle"] = json!("b".repeat(64));
        }
        let desired = json!({"managedBy": "here", "release": asked});
        let desired: Desired = serde_json::from_value(desired).expect("a wish");
        let all = all(Some(&endpoint), Some(&release), &Settings::default(), &desired);
        assert!(all.iter().all(|change| change.makes_release));
        all.into_iter().map(|change| (change.path, change.old, change.new)).collect()
    }

    #[test]
    fn every_key_of_an_image_is_exactly_its_own_difference() {
        let built = json!({"dockerfile": "Dockerfile", "args": {"A": "1"}, "target": "t", "platform": "linux/amd64",
                           "entrypoint": ["sh"], "command": ["a"]});
        assert_eq!(changes(&built, &built), []);
        for (part, key, value) in [
            ("dockerfile", "build.dockerfile", json!("Dockerfile.gpu")),
            ("args", "build.args", json!({"A": "2"})),
            ("target", "build.target", json!("u")),
            ("platform", "build.platform", json!("linux/arm64")),
            ("entrypoint", "run.entrypoint", json!(["bash"])),
            ("command", "run.command", Value::Null),
        ] {
            let mut wish = built.clone();
            wish[part] = value.clone();
            assert_eq!(changes(&built, &wish), [(key.to_owned(), built[part].clone(), value)], "{part}");
        }
        let (one, two) = (json!({"image": "me/w:1"}), json!({"image": "me/w:2"}));
        assert_eq!(changes(&one, &one), []);
        assert_eq!(changes(&one, &two), [("build.image".to_owned(), json!("me/w:1"), json!("me/w:2"))]);
    }

    #[test]
    fn python_is_compared_where_there_is_a_handler() {
        let (endpoint, mut release) = applied(&json!({"dockerfile": "Dockerfile"}));
        if let Some(launch) = release.launch.as_mut() {
            launch.image = None;
        }
        release.python_wish.version = Some("3.11".into());
        let wish =
            json!({"bundle": "b".repeat(64), "python": {"version": "3.12", "requirements": "gpu.txt"}});
        let desired = json!({"managedBy": "here", "release": wish});
        let desired: Desired = serde_json::from_value(desired).expect("a wish");
        let all = all(Some(&endpoint), Some(&release), &Settings::default(), &desired);
        let found: Vec<_> =
            all.iter().map(|change| (change.path.as_str(), &change.old, &change.new)).collect();
        let (old, new, file) = (json!("3.11"), json!("3.12"), json!("gpu.txt"));
        assert_eq!(found[..2], [("build.python", &old, &new), ("build.requirements", &Value::Null, &file)]);
    }
}
