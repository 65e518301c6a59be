//! The first half of a deploy whose workers are containers: the image is resolved to what it means now, or built, and
//! looked at before anything runs. What would keep its containers from running is said here, before any traffic.

mod variables;

use std::path::Path as FsPath;
use std::time::Duration;

use runyard_domain::FailReason;
use runyard_domain::image::{Fault, Image, Needs, check};
use runyard_domain::registry::Login;
use runyard_domain::release::Launch;
use runyard_engine::LoginError;
use runyard_logs::{Level, Source};
use runyard_runtime::docker::{self, Build, Engine, Found, Labels, Pulled, Used};
use serde_json::json;
use tokio::time::Instant;

use crate::Manage;
use crate::container::Request;
use crate::deploy::Deploy;

/// How often the bytes of a pull are told.
const TELL: Duration = Duration::from_millis(500);

/// How many lines of a failed build are kept with its reason.
const KEPT_LINES: usize = 20;

/// The usual Dockerfile.
const DOCKERFILE: &str = "Dockerfile";

fn image(fault: Fault) -> FailReason {
    FailReason::Image { fault: Box::new(fault) }
}

impl Manage {
    /// The container engine of this machine.
    pub(crate) async fn engine(&self) -> Result<Engine, Fault> {
        let mut known = self.inner.container_engine.lock().await;
        if let Some(engine) = known.as_ref()
            && engine.answers().await
        {
            return Ok(engine.clone());
        }
        let address = docker::find(self.inner.containers.engine.as_deref()).ok_or_else(|| Fault::EngineAway {
            message: "no socket of Docker or Podman was found; install Docker, or name its socket with docker_host \
                      in server.toml"
                .to_owned(),
        })?;
        let engine = Engine::connect(&address).await?.noting(self.pulled());
        let noted = Used::new(self.inner.containers.engines.clone()).note(&address);
        noted.map_err(|error| Fault::EngineRefused {
            operation: "be noted as in use".to_owned(),
            message: error.to_string(),
        })?;
        *known = Some(engine.clone());
        Ok(engine)
    }

    fn labels(&self) -> Labels {
        Labels::of(&self.inner.containers.data)
    }

    /// Whether an image can still be had: it is there, or a registry has it. Where the engine cannot say, the start
    /// of the first worker will.
    pub(crate) async fn has_image(&self, image: &Image) -> bool {
        match self.engine().await {
            Ok(engine) if image.digest.is_none() && engine.address() == image.engine => {
                !matches!(engine.image(&image.id).await, Ok(None))
            }
            _ => true,
        }
    }

    fn pulled(&self) -> Pulled {
        Pulled::new(self.inner.containers.pulled.clone())
    }
}

impl Deploy {
    /// Finds or builds the image and looks at it.
    pub(crate) async fn prepare_image(&mut self, code: &FsPath, request: Request) -> Result<(), FailReason> {
        let engine = self.manage.engine().await.map_err(image)?;
        let (name, found, registry) = if let Some(name) = &request.image {
            let login = self.login(|engine, named| engine.login_for(name, named))?;
            let found = self.resolve(&engine, name, login.as_ref()).await?;
            (name.clone(), found, login.map(|login| login.name))
        } else {
            let (name, found) = self.build(&engine, code, &request).await?;
            (name, found, None)
        };
        let other = request.entrypoint.is_some() || request.command.is_some();
        let platform = engine.about().platform.clone();
        let needs = Needs {
            image: &name,
            platform: &platform,
            other_command: other,
            gpus: self.settings.gpus.count(),
            driver: self.manage.inner.containers.driver,
        };
        check(&found.facts, &needs).map_err(image)?;
        let command = match (&request.entrypoint, &request.command) {
            (None, None) => found.facts.command.clone(),
            (entrypoint, command) => [entrypoint, command].into_iter().flatten().flatten().cloned().collect(),
        };
        self.release.env_read = variables::of(&engine, &self.manage.labels(), &found, &command).await;
        self.release.handler.clone_from(&name);
        self.release.launch = Some(Launch {
            command,
            code_dir: code.display().to_string(),
            in_place: false,
            read_dirs: Vec::new(),
            image: Some(Image {
                name,
                id: found.id,
                digest: found.digest,
                engine: engine.address().to_owned(),
                registry,
                entrypoint: request.entrypoint,
                command: request.command,
            }),
            stands_for: None,
        });
        Ok(())
    }

    /// Logins for registries, by the name that the settings give.
    fn login<T>(
        &self,
        find: impl FnOnce(&runyard_engine::Engine, &str) -> Result<T, LoginError>,
    ) -> Result<T, FailReason> {
        let named = self.settings.container.registry.as_str();
        find(&self.manage.inner.engine, named).map_err(|error| {
            let operation = "be shown a registry login".to_owned();
            image(Fault::EngineRefused { operation, message: error.to_string() })
        })
    }

    /// The image as its name means it now, pulled with its bytes told.
    async fn resolve(
        &mut self,
        engine: &Engine,
        name: &str,
        login: Option<&Login>,
    ) -> Result<Found, FailReason> {
        let started = self.manage.inner.engine.now();
        self.say("image", "running", &format!("looking for {name}"));
        let lines = self.lines.clone();
        let mut told: Option<Instant> = None;
        let on_progress = move |progress: docker::Progress| {
            if progress.total > 0 && told.is_none_or(|at| at.elapsed() >= TELL) {
                told = Some(Instant::now());
                let mb = |bytes: u64| bytes.div_ceil(1_000_000);
                let message = format!("pulling {} of {} MB", mb(progress.done), mb(progress.total));
                // Not for the log: only the newest number says anything.
                let _ =
                    lines.send(json!({"step": "image", "state": "running", "message": message, "ms": null}));
            }
        };
        let (found, instead) = engine.resolve(name, login, on_progress).await.map_err(image)?;
        // It is no leftover, although no release names it yet.
        self.manage.pulled().touch(engine.address(), &found.id);
        if let Some(fault) = instead {
            self.output("image", &format!("taking the image that is here: {}", fault.sentence()));
        }
        let message = format!("{name} · {} MB · {}", found.size.div_ceil(1_000_000), short(&found));
        self.say_since("image", "done", &message, started);
        Ok(found)
    }

    /// Builds the image from the bundle.
    async fn build(
        &mut self,
        engine: &Engine,
        code: &FsPath,
        request: &Request,
    ) -> Result<(String, Found), FailReason> {
        let name = docker::name_of_build(&self.endpoint.id, self.release.number);
        if let Some(wanted) = &request.platform {
            fits(wanted, &engine.about().platform, &name).map_err(image)?;
        }
        let started = self.manage.inner.engine.now();
        let dockerfile = request.dockerfile.clone().unwrap_or_else(|| DOCKERFILE.to_owned());
        let by_kit = engine.has_buildkit().await;
        if !by_kit && !request.secrets.is_empty() {
            let message =
                "the build has secrets, which need BuildKit: install Docker's buildx on the server's machine";
            return Err(FailReason::Build { message: message.to_owned(), last_lines: Vec::new() });
        }
        self.say("build", "running", &dockerfile);
        let build = Build {
            folder: code.to_owned(),
            dockerfile,
            tag: name.clone(),
            args: request.args.clone(),
            target: request.target.clone().unwrap_or_default(),
            platform: request.platform.clone().unwrap_or_default(),
            secrets: request.secrets.clone(),
            logins: self.login(runyard_engine::Engine::logins_for_build)?,
        };
        let logins: Vec<String> = build.logins.iter().map(|login| login.name.clone()).collect();
        let labels = self.manage.labels();
        let private = self.manage.inner.containers.private.clone();
        let mut last: Vec<String> = Vec::new();
        let on_line = |line: &str| {
            self.output("build", line);
            if last.len() == KEPT_LINES {
                last.remove(0);
            }
            last.push(line.to_owned());
        };
        let built = if by_kit {
            engine.build_by_kit(&build, &labels, &private, on_line).await
        } else {
            engine.build(&build, &labels, on_line).await
        };
        let built = built.map_err(image)?;
        let found = built.map_err(|said| {
            let message = format!("the image could not be built: {said}{}", advice(&said, &logins));
            FailReason::Build { message, last_lines: last }
        })?;
        let message = format!("{} MB · {}", found.size.div_ceil(1_000_000), short(&found));
        self.say_since("build", "done", &message, started);
        Ok((name, found))
    }

    /// A line of the work under way: kept with the release, and for the client.
    fn output(&mut self, step: &str, line: &str) {
        let _ = self.lines.send(json!({"step": step, "state": "output", "message": line}));
        if let Some(log) = self.log.as_mut() {
            let now = self.manage.inner.engine.now();
            let _ = log.note(now, Source::Build, Level::Info, None, line);
        }
    }
}

/// Whether what is built for a platform runs on an engine's: told before the build, which may take long.
fn fits(wanted: &str, engine: &str, name: &str) -> Result<(), Fault> {
    let said = wanted.to_lowercase().replace("x86_64", "amd64").replace("aarch64", "arm64");
    // `linux/arm64/v8` is a variant, and `arm64` is short.
    let mut parts = said.split('/');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    let platform = second.map_or_else(|| format!("linux/{first}"), |second| format!("{first}/{second}"));
    if platform == engine {
        return Ok(());
    }
    Err(Fault::WrongPlatform { image: name.to_owned(), has: wanted.to_owned(), needs: engine.to_owned() })
}

/// What to do about a build's failure, where that is known.
fn advice(said: &str, logins: &[String]) -> String {
    let said = said.to_lowercase();
    let closed =
        ["unauthorized", "authentication required", "no basic auth", "access denied", "authorization failed"];
    if closed.iter().any(|words| said.contains(words)) {
        return match logins {
            [] => "; add a login for the base image's registry: runyard registries add".to_owned(),
            shown => format!("; registries were shown the logins {}", shown.join(", ")),
        };
    }
    if said.contains("requires buildkit") || said.contains("unknown flag: mount") {
        return "; the engine builds without BuildKit here: install Docker's buildx on the server's machine, or build \
                the image elsewhere and deploy it with --image"
            .to_owned();
    }
    String::new()
}

/// The beginning of an image's id.
fn short(found: &Found) -> String {
    let id = found.digest.as_deref().and_then(|digest| digest.split('@').nth(1)).unwrap_or(&found.id);
    id.chars().take("sha256:".len() + 12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_of_other_machines_are_told_before_a_build() {
        let says = |wanted: &str, engine: &str| fits(wanted, engine, "x:1").map_err(|fault| fault.code());
        assert_eq!(says("linux/arm64", "linux/amd64"), Err("wrong_platform"));
        for same in ["linux/amd64", "amd64", "linux/x86_64", "Linux/amd64/v2"] {
            assert_eq!(says(same, "linux/amd64"), Ok(()), "{same}");
        }
        assert_eq!(says("linux/arm64/v8", "linux/arm64"), Ok(()));
    }
}
