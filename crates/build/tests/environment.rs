//! Real environments from wheels that the tests make themselves. No index is asked for anything but uv, once;
//! where that cannot be had, pip does the work and the same must hold.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use runyard_build::environment::{self, EnvPlan, Environment, EnvironmentError, Requirements};
use runyard_build::{plan, prepare};

/// uv stays here between runs.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("build-tools")
}

/// Writes a wheel with one module into `dir`; Python's own zip module does it.
fn wheel(dir: &Path, name: &str, version: &str) -> String {
    let file = format!("{name}-{version}-py3-none-any.whl");
    let script = "import sys, zipfile
path, name, version = sys.argv[1:]
info = f'{name}-{version}.dist-info/'
with zipfile.ZipFile(path, 'w') as z:
    z.writestr(f'{name}/__init__.py', f'VERSION = {version!r}\\n')
    z.writestr(info + 'METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n')
    z.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    z.writestr(info + 'RECORD', f'{name}/__init__.py,,\\n{info}METADATA,,\\n{info}WHEEL,,\\n{info}RECORD,,\\n')
";
    let made =
        Command::new("python3").args(["-c", script]).arg(dir.join(&file)).args([name, version]).status();
    assert!(made.unwrap().success());
    file
}

struct Folder {
    code: tempfile::TempDir,
    envs: tempfile::TempDir,
    lines: Mutex<Vec<String>>,
}

impl Folder {
    fn new(handler: &str) -> Self {
        let folder = Self {
            code: tempfile::tempdir().unwrap(),
            envs: tempfile::tempdir().unwrap(),
            lines: Mutex::default(),
        };
        folder.write("handler.py", handler);
        folder
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.code.path().join(name), text).unwrap();
    }

    fn plan(&self) -> EnvPlan {
        plan(self.code.path(), Path::new("handler.py")).unwrap()
    }

    async fn prepare(&self) -> Result<Environment, EnvironmentError> {
        let plan = self.plan();
        let keep = |line: &str| self.lines.lock().unwrap().push(line.to_owned());
        prepare(&plan, self.envs.path(), &tools(), None, keep).await
    }
}

fn python(environment: &Environment, code: &str) -> String {
    let output = Command::new(&environment.python).args(["-I", "-c", code]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_is_made_once_found_again_and_mended() {
    let folder = Folder::new("import runpod");
    let tiny = wheel(folder.code.path(), "tiny", "1.5");
    let sdk = wheel(folder.code.path(), "runpod", "9.9.9");
    folder.write("requirements.txt", &format!("./{tiny}\n./{sdk}  # stands in for the SDK\n"));
    assert!(!folder.plan().adds_runpod);

    // Two at once: one works, the other waits for it.
    let (one, two) = tokio::join!(folder.prepare(), folder.prepare());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.cached, two.cached);
    assert_eq!((&one.dir, &one.python), (&two.dir, &two.python));
    assert_eq!(one.sdk_version.as_deref(), Some("9.9.9"));
    assert_eq!(python(&one, "import tiny; print(tiny.VERSION)"), "1.5");
    assert_eq!(python(&one, "import platform; print(platform.python_version())"), one.python_version);
    let compiled =
        "import glob, os, tiny; print(len(glob.glob(os.path.dirname(tiny.__file__) + '/__pycache__/*.pyc')))";
    assert_eq!(python(&one, compiled), "1");
    assert!(folder.lines.lock().unwrap().iter().any(|line| line.contains("tiny")));

    // There it is again, and quickly; its time of use moves.
    let before = environment::last_used(&one.dir).unwrap();
    let begun = Instant::now();
    let again = folder.prepare().await.unwrap();
    assert!(again.cached && begun.elapsed().as_secs() < 2);
    assert!(environment::last_used(&one.dir).unwrap() >= before);

    // One that was cut off is made anew.
    fs::remove_file(one.dir.join(".complete")).unwrap();
    fs::write(one.dir.join("rubbish"), "").unwrap();
    let mended = folder.prepare().await.unwrap();
    assert!(!mended.cached && !one.dir.join("rubbish").exists());
    assert_eq!(python(&mended, "import tiny; print(tiny.VERSION)"), "1.5");
}

#[tokio::test]
async fn what_cannot_be_installed_says_so() {
    let folder = Folder::new("");
    folder.write("requirements.txt", "./not_there-1.0-py3-none-any.whl\n");
    let error = folder.prepare().await.unwrap_err();
    assert!(error.message.starts_with("Installing requirements.txt failed with exit code"), "{error}");
    assert!(error.last_lines.iter().any(|line| line.contains("not_there")), "{:?}", error.last_lines);
    // And the next try fails alike, instead of finding half an environment.
    assert_eq!(folder.prepare().await.unwrap_err().message, error.message);
}

#[tokio::test]
async fn code_without_needs_gets_an_empty_environment() {
    let folder = Folder::new("print('hello')");
    let environment = folder.prepare().await.unwrap();
    assert_eq!(environment.sdk_version, None);
    assert_eq!(python(&environment, "import sys; print(sys.prefix)"), environment.dir.display().to_string());
}

#[tokio::test]
async fn a_pyproject_and_its_lock_are_installed() {
    let folder = Folder::new("");
    let tiny = wheel(folder.code.path(), "tiny", "2.5");
    folder.write(
        "pyproject.toml",
        &format!("[project]\nname = 'app'\nversion = '1'\nrequires-python = '>=3.9'\ndependencies = ['tiny @ file://{}']\n", folder.code.path().join(&tiny).display()),
    );
    assert_eq!(folder.plan().requirements, Requirements::Pyproject("pyproject.toml".into()));
    let environment = folder.prepare().await.unwrap();
    assert_eq!(python(&environment, "import tiny; print(tiny.VERSION)"), "2.5");

    let uv = tools().join("uv/bin/uv");
    let uv = if uv.exists() { uv } else { PathBuf::from("uv") };
    let locked = Command::new(uv).args(["lock", "--offline"]).current_dir(folder.code.path()).status();
    if !locked.is_ok_and(|status| status.success()) {
        eprintln!("not tested: uv.lock, because there is no uv here");
        return;
    }
    assert_eq!(folder.plan().requirements, Requirements::Lock("uv.lock".into()));
    let environment = folder.prepare().await.unwrap();
    assert!(!environment.cached);
    assert_eq!(python(&environment, "import tiny; print(tiny.VERSION)"), "2.5");
}

#[test]
fn the_future_may_move_between_threads() {
    fn check<T: Send>(_: &T) {}
    let folder = Folder::new("");
    let plan = folder.plan();
    check(&prepare(&plan, Path::new("/nowhere"), Path::new("/nowhere"), None, |_| ()));
}
