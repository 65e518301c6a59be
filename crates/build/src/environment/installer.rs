//! Who installs: uv, from the `PATH` or put into the tools folder once, else pip. uv takes seconds where pip
//! takes a minute.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::command::{Talk, command, run};
use super::prepare::{blocking, lock};
use super::{EnvPlan, EnvironmentError, RUNPOD, Requirements, sources};

/// Written last into a tool's folder.
const COMPLETE: &str = ".complete";

/// What makes environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installer {
    /// uv, and the variables that tell it what pip is told by its configuration.
    Uv { program: PathBuf, cache: PathBuf, pips: BTreeMap<&'static str, String> },
    /// `python -m venv` and pip.
    Pip,
}

impl Installer {
    /// The best there is. Failing to get uv is told, and no error: pip does the same, slower.
    pub async fn find(plan: &EnvPlan, tools_dir: &Path, talk: &mut Talk<'_>) -> Self {
        let program = match uv_on_path().await {
            Some(program) => Ok(program),
            None => uv_in_tools(plan, tools_dir, talk).await,
        };
        match program {
            Ok(program) => {
                let cache = tools_dir.join("uv-cache");
                Self::Uv { program, cache, pips: pips_settings(&plan.python.path).await }
            }
            Err(error) => {
                talk.say(&format!(
                    "uv could not be installed, so pip does the work, slower: {}",
                    error.message
                ));
                Self::Pip
            }
        }
    }

    /// Makes the environment `dir`, which is there and empty.
    pub async fn install(
        &self,
        plan: &EnvPlan,
        dir: &Path,
        talk: &mut Talk<'_>,
    ) -> Result<(), EnvironmentError> {
        match self {
            Self::Uv { .. } => self.install_with_uv(plan, dir, talk).await,
            Self::Pip => install_with_pip(plan, dir, talk).await,
        }
    }

    async fn install_with_uv(
        &self,
        plan: &EnvPlan,
        dir: &Path,
        talk: &mut Talk<'_>,
    ) -> Result<(), EnvironmentError> {
        let mut venv = self.uv();
        venv.args(["venv", "--quiet", "--no-project", "--python"]).arg(&plan.python.path).arg(dir);
        run(venv, "Making the environment", talk).await?;

        let code = sources(plan, dir, talk).await?;
        let install = || {
            let mut install = self.uv();
            install.current_dir(&code);
            install.args(["pip", "install", "--compile-bytecode", "--python"]).arg(dir.join("bin/python"));
            install
        };
        let what = format!("Installing {}", plan.requirements.label());
        match &plan.requirements {
            Requirements::None => {}
            Requirements::Txt(file) | Requirements::Pyproject(file) => {
                let mut install = install();
                install.arg("-r").arg(file);
                if plan.adds_runpod {
                    install.arg(RUNPOD);
                }
                return run(install, &what, talk).await;
            }
            Requirements::Lock(file) => {
                let exported = dir.join("locked-requirements.txt");
                let mut export = self.uv();
                export.current_dir(code.join(file.parent().unwrap_or(Path::new(""))));
                export.args([
                    "export",
                    "--quiet",
                    "--frozen",
                    "--no-dev",
                    "--no-emit-project",
                    "--output-file",
                ]);
                export.arg(&exported).arg("--python").arg(&plan.python.path);
                run(export, &format!("Reading {}", file.display()), talk).await?;
                let mut install = install();
                install.current_dir(code.join(file.parent().unwrap_or(Path::new(""))));
                install.arg("-r").arg(&exported);
                run(install, &what, talk).await?;
            }
        }
        if plan.adds_runpod {
            let mut install = install();
            install.arg(RUNPOD);
            run(install, "Installing runpod", talk).await?;
        }
        Ok(())
    }

    fn uv(&self) -> Command {
        let Self::Uv { program, cache, pips } = self else { return command("uv") };
        let mut uv = command(program);
        uv.env("UV_PYTHON_DOWNLOADS", "never").env("UV_NO_PROGRESS", "1").env("NO_COLOR", "1");
        if std::env::var_os("UV_CACHE_DIR").is_none() {
            uv.env("UV_CACHE_DIR", cache);
        }
        for (name, value) in pips {
            if std::env::var_os(name).is_none() {
                uv.env(name, value);
            }
        }
        uv
    }
}

async fn install_with_pip(plan: &EnvPlan, dir: &Path, talk: &mut Talk<'_>) -> Result<(), EnvironmentError> {
    if let Requirements::Lock(file) = &plan.requirements {
        return Err(talk.error(format!(
            "{} can only be installed by uv, which is not to be had. Put uv on the PATH of the server, or deploy \
             a requirements.txt.",
            file.display()
        )));
    }
    let mut venv = command(&plan.python.path);
    venv.args(["-m", "venv"]).arg(dir);
    run(venv, "Making the environment", talk).await?;

    let code = sources(plan, dir, talk).await?;
    let install = || {
        let mut install = command(dir.join("bin/python"));
        install.current_dir(&code).args(["-m", "pip", "install", "--progress-bar", "off"]);
        install
    };
    let mut hashed = false;
    let what = format!("Installing {}", plan.requirements.label());
    let mut first = install();
    match &plan.requirements {
        Requirements::Txt(file) => {
            // Where one requirement has a hash, pip wants one for all.
            hashed = fs::read_to_string(plan.code_dir.join(file)).is_ok_and(|text| text.contains("--hash"));
            first.arg("-r").arg(file);
        }
        Requirements::Pyproject(_) => {
            first.args(&plan.listed);
        }
        Requirements::None | Requirements::Lock(_) => {}
    }
    let empty = match plan.requirements {
        Requirements::Pyproject(_) => plan.listed.is_empty(),
        Requirements::Txt(_) => false,
        Requirements::None | Requirements::Lock(_) => true,
    };
    if plan.adds_runpod && !hashed {
        first.arg(RUNPOD);
    }
    if !empty || (plan.adds_runpod && !hashed) {
        run(first, &what, talk).await?;
    }
    if plan.adds_runpod && hashed {
        let mut second = install();
        second.arg(RUNPOD);
        run(second, "Installing runpod", talk).await?;
    }
    Ok(())
}

/// Where the requirements are installed from: the code, or a copy that may be written to.
async fn sources(plan: &EnvPlan, dir: &Path, talk: &mut Talk<'_>) -> Result<PathBuf, EnvironmentError> {
    let (plan, folder) = (plan.clone(), dir.to_owned());
    let given = blocking(move || sources::provide(&plan, &folder)).await.and_then(|code| {
        if let Some(room) = talk.room.as_ref().filter(|_| code.starts_with(dir)) {
            room.give(&code)?;
        }
        Ok(code)
    });
    given.map_err(|error| talk.error(format!("Cannot copy the code to build from: {error}.")))
}

/// A uv on the `PATH` that works: a shim may be there without its program.
async fn uv_on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    for program in std::env::split_paths(&path).map(|folder| folder.join("uv")) {
        if program.is_absolute() && program.is_file() && works(&program).await {
            return Some(program);
        }
    }
    None
}

async fn works(program: &Path) -> bool {
    command(program).arg("--version").output().await.is_ok_and(|answer| answer.status.success())
}

/// uv in the tools folder, put there by the first that needs it.
async fn uv_in_tools(
    plan: &EnvPlan,
    tools_dir: &Path,
    talk: &mut Talk<'_>,
) -> Result<PathBuf, EnvironmentError> {
    let dir = tools_dir.join("uv");
    let program = dir.join("bin/uv");
    if dir.join(COMPLETE).exists() && works(&program).await {
        return Ok(program);
    }
    let failed = |error: std::io::Error| EnvironmentError {
        message: format!("Cannot write {}: {error}.", tools_dir.display()),
        last_lines: Vec::new(),
    };
    fs::create_dir_all(tools_dir).map_err(failed)?;
    let _lock = lock(&tools_dir.join("uv.lock"), talk).await?;
    if dir.join(COMPLETE).exists() && works(&program).await {
        return Ok(program);
    }
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(failed)?;
    }
    talk.say("Installing uv, once.");
    let mut venv = command(&plan.python.path);
    venv.args(["-m", "venv"]).arg(&dir);
    run(venv, "Making an environment for uv", talk).await?;
    let mut install = command(dir.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--progress-bar", "off", "--retries", "2"]);
    // This runs as we do: nothing of it is built here.
    install.args(["--only-binary", ":all:", "uv"]);
    run(install, "Installing uv", talk).await?;
    fs::write(dir.join(COMPLETE), b"").map_err(failed)?;
    Ok(program)
}

/// What pip is told by its configuration files and variables, in uv's words.
async fn pips_settings(python: &Path) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::new();
    let mut ask = command(python);
    ask.args(["-m", "pip", "config", "list"]);
    if let Ok(answer) = ask.output().await {
        settings = translated(&String::from_utf8_lossy(&answer.stdout));
    }
    for name in ["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
        if let Ok(file) = std::env::var(name) {
            settings.entry("SSL_CERT_FILE").or_insert(file);
        }
    }
    settings
}

/// Lines such as `global.index-url='https://...'`; what is set by variable (`:env:`) comes first, then what
/// is for `install`, then what is for all.
fn translated(config: &str) -> BTreeMap<&'static str, String> {
    let mut settings = BTreeMap::new();
    for section in [":env:.", "install.", "global."] {
        for (key, value) in config.lines().filter_map(|line| line.strip_prefix(section)?.split_once('=')) {
            let value = value.trim().trim_matches(['\'', '"']).replace("\\n", " ");
            let many: Vec<&str> = value.split_whitespace().collect();
            let (name, value) = match key {
                "index-url" => ("UV_DEFAULT_INDEX", many.join(" ")),
                "extra-index-url" => ("UV_INDEX", many.join(" ")),
                "trusted-host" => ("UV_INSECURE_HOST", many.join(" ")),
                "cert" => ("SSL_CERT_FILE", value),
                // uv refuses a folder that is not there, pip passes by.
                "find-links" => {
                    let there = |link: &&str| link.contains("://") || Path::new(link).is_dir();
                    ("UV_FIND_LINKS", many.into_iter().filter(there).collect::<Vec<_>>().join(","))
                }
                "no-index" => ("UV_NO_INDEX", value),
                _ => continue,
            };
            if !value.is_empty() {
                settings.entry(name).or_insert(value);
            }
        }
    }
    settings
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pips_configuration_in_uvs_words() {
        let config = "global.index-url='https://a/simple'\ninstall.extra-index-url='\\nhttps://b\\nhttps://c'\n\
                      :env:.index-url='https://env/simple'\nglobal.cert='/ca.pem'\nglobal.timeout='60'\n\
                      global.find-links='/no/such/folder https://d'\n";
        let settings = translated(config);
        assert_eq!(settings["UV_DEFAULT_INDEX"], "https://env/simple");
        assert_eq!(settings["UV_INDEX"], "https://b https://c");
        assert_eq!(settings["SSL_CERT_FILE"], "/ca.pem");
        assert_eq!(settings["UV_FIND_LINKS"], "https://d");
        assert_eq!(settings.len(), 4);
    }

    /// pip is the way out where uv cannot be had, which the other tests do not see on most machines.
    #[tokio::test]
    async fn pip_does_it_too() {
        let code = tempfile::tempdir().unwrap();
        let envs = tempfile::tempdir().unwrap();
        fs::write(code.path().join("requirements.txt"), "# nothing\n").unwrap();
        let plan = crate::plan(code.path(), Path::new("handler.py")).unwrap();
        let dir = envs.path().join("env");
        fs::create_dir(&dir).unwrap();
        let mut lines = Vec::new();
        let mut keep = |line: &str| lines.push(line.to_owned());
        Installer::Pip.install(&plan, &dir, &mut Talk::new(&mut keep)).await.unwrap();
        assert!(works(&dir.join("bin/python")).await);

        let locked = EnvPlan { requirements: Requirements::Lock("uv.lock".into()), ..plan };
        let error = Installer::Pip.install(&locked, &dir, &mut Talk::new(&mut |_| ())).await.unwrap_err();
        assert!(error.message.contains("only be installed by uv"));
    }
}
