//! Endpoints whose file is gone: those that were applied from a file of the same repository and environment, at or below
//! the folders that are worked on. Endpoints that follow a repository by themselves are left alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use runyard_project::{FILE, FileError, place};
use serde::{Deserialize, Serialize};

use crate::client::{Call, Client, path};
use crate::commands::project::many::ProjectsArgs;
use crate::commands::project::{Project, Repository};
use crate::errors::{Code, Failure};
use crate::output::text;

/// The longest place that the server keeps whole, in characters: a longer one says not where the file lies.
const LONGEST_PLACE: usize = 400;

/// An endpoint that nothing asks for any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// Its name.
    pub name: String,
    /// The file that it was applied from.
    pub by: String,
}

#[derive(Deserialize)]
struct Listed {
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    name: String,
    managed: Option<Managed>,
}

#[derive(Deserialize)]
struct Managed {
    by: String,
}

#[derive(Deserialize)]
struct Followed {
    connections: Vec<Connection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    endpoint_name: Option<String>,
    #[serde(default)]
    previews: Vec<Preview>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Preview {
    endpoint_name: Option<String>,
}

/// What is worked on: a folder of a repository.
struct Scope {
    repository: Repository,
    folder: PathBuf,
}

/// The endpoints that `--prune` removes.
pub async fn find(client: &Client, args: &ProjectsArgs, projects: &[Project]) -> anyhow::Result<Vec<Gone>> {
    let scopes: Vec<Scope> = args.paths.iter().map(|path| scope(path)).collect::<Result<_, _>>()?;
    let listed: Listed = client.get(path::api(&["endpoints"])).await?.parse()?;
    let followed: Followed = client.get(path::api(&["git"])).await?.parse()?;
    let follows = |name: &str| {
        followed.connections.iter().any(|connection| {
            let previews = connection.previews.iter().map(|preview| &preview.endpoint_name);
            std::iter::once(&connection.endpoint_name).chain(previews).any(|of| of.as_deref() == Some(name))
        })
    };
    let mut gone = Vec::new();
    for Endpoint { name, managed } in listed.endpoints {
        let Some(Managed { by }) = managed else { continue };
        let is_wanted = projects.iter().any(|project| project.name == name);
        if is_wanted || follows(&name) || by.chars().count() >= LONGEST_PLACE {
            continue;
        }
        for scope in &scopes {
            if is_gone(scope, args.environment.as_deref(), &by, &name)? {
                gone.push(Gone { name, by });
                break;
            }
        }
    }
    Ok(gone)
}

/// Removes one, if it is still that file's: between the plan and now somebody may have applied another.
pub async fn remove(client: &Client, gone: &Gone) -> anyhow::Result<()> {
    let endpoint: Endpoint = client.get(path::api(&["endpoints", &gone.name])).await?.parse()?;
    if endpoint.managed.is_none_or(|managed| managed.by != gone.by) {
        let name = text::line(&gone.name, 80);
        let problem = format!("endpoint '{name}' was applied from another file meanwhile: it stays");
        return Err(Failure::new(Code::Failure, problem)
            .hint("the same command again shows what is left")
            .into());
    }
    let call = Call::new(Method::DELETE, path::api(&["endpoints", &gone.name]));
    client.send(call.timeout(Duration::from_mins(10))).await?;
    Ok(())
}

fn scope(path: &Path) -> anyhow::Result<Scope> {
    let real = path.canonicalize().map_err(|error| {
        Failure::usage(format!("cannot read {}", path.display())).cause(error.to_string())
    })?;
    let folder = match real.parent() {
        Some(parent) if real.is_file() => parent.to_owned(),
        _ => real,
    };
    let repository = Repository::of(&folder).ok_or_else(|| {
        Failure::usage(format!("{} lies in no Git repository with a remote 'origin'", path.display()))
            .cause("only that says which endpoints came from here")
            .hint("remove an endpoint with 'runyard destroy' or 'runyard endpoints rm'")
    })?;
    Ok(Scope { repository, folder })
}

/// Whether `by` is a file of this scope that is gone, or that names another endpoint by now.
fn is_gone(scope: &Scope, environment: Option<&str>, by: &str, name: &str) -> anyhow::Result<bool> {
    let Some(prefix) = place::folder(by, &scope.repository.url, environment) else { return Ok(false) };
    let folder = scope.repository.root.join(prefix);
    // What a server says of a path is not followed out of the repository.
    if prefix.split('/').any(|part| part == "..") || !folder.starts_with(&scope.folder) {
        return Ok(false);
    }
    if !folder.join(FILE).is_file() {
        return Ok(true);
    }
    let text = std::fs::read_to_string(folder.join(FILE))?;
    match runyard_project::read(&text, environment) {
        Ok(_) => Ok(Project::load(&folder, environment)?.name != name),
        Err(FileError::NoEnvironment { .. }) => Ok(true),
        Err(error) => {
            Err(Failure::usage(format!("{}: {}", folder.display(), text::line(&error.to_string(), 400)))
                .cause("whether its endpoint is to go cannot be told")
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://host/me/repo";

    #[test]
    fn only_files_of_here_can_be_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        let put = |folder: &str, text: &str| {
            std::fs::create_dir_all(root.join(folder)).expect("made");
            std::fs::write(root.join(folder).join(FILE), text).expect("written");
        };
        put("services/a", "name = \"a\"\n[env.eu]\n");
        put("services/broken", "[[[");
        let repository = Repository { root: root.clone(), url: URL.into(), prefix: String::new() };
        let scope = |folder: &str| Scope { repository: repository.clone(), folder: root.join(folder) };
        let place = |prefix: &str, env: Option<&str>| place::of(Some(URL), prefix, env, true);
        let gone = |prefix: &str, env: Option<&str>, name: &str| {
            is_gone(&scope("services"), env, &place(prefix, env), name).map_err(|error| error.to_string())
        };
        assert_eq!(gone("services/a", None, "a"), Ok(false), "its file names it");
        assert_eq!(gone("services/a", None, "before"), Ok(true), "its file names another");
        assert_eq!(gone("services/b", None, "b"), Ok(true), "its file is gone");
        assert_eq!(gone("services/a", Some("eu"), "a-eu"), Ok(false));
        assert_eq!(gone("services/a", Some("us"), "a-us"), Ok(true), "its environment is gone");
        assert_eq!(gone("other/b", None, "b"), Ok(false), "it lies elsewhere");
        assert_eq!(gone("services/../../x", None, "x"), Ok(false));
        assert!(gone("services/broken", None, "x").is_err_and(|error| error.contains("line 1")));
        let of = |by: &str| is_gone(&scope("services"), None, by, "b").expect("an answer");
        assert!(!of(&place("services/b", Some("eu"))), "of another environment");
        assert!(!of("services/b/runyard.toml@https://host/me/other") && !of("runyard.toml"));
    }
}
