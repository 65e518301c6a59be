//! What a hostile package can do while it is built, as it finds out by trying. The package is its own build
//! backend, so that no index is asked for one; a `setup.py` runs the same way.

#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use runyard_build::environment::{Confine, Environment};
use runyard_build::{plan, prepare};
use runyard_runtime::Paths;

/// Tries everything, and packs what it could do as a module that says so.
const BACKEND: &str = r#"
import os, sys, tempfile, zipfile
DATA, ENV, BESIDE, NAME = @@
could = []
def attempt(name, action):
    try:
        action()
        could.append(name)
    except OSError:
        pass
def write(path): return lambda: open(path, "a").write("x")
def stay():
    # Another session, another parent, and none of the variables that it was given.
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for fd in range(3): os.close(fd)
            os.execve("/bin/sleep", [NAME, "1000"], {})
        os._exit(0)
    os.wait()
def build_wheel(folder, settings=None, metadata=None):
    attempt("read the vault key", lambda: open(DATA + "/vault.key").read())
    attempt("list the data directory", lambda: os.listdir(DATA))
    attempt("write the data directory", write(DATA + "/new"))
    attempt("read another environment", lambda: os.listdir(DATA + "/envs/other"))
    attempt("write another environment", write(DATA + "/envs/other/x"))
    attempt("write a tool", write(DATA + "/tools/x"))
    attempt("write the code", write(DATA + "/bundles/code/handler.py"))
    attempt("write beside the data directory", write(BESIDE + "/x"))
    attempt("write to /tmp", lambda: tempfile.mkdtemp(dir="/tmp"))
    attempt("set the core pattern", lambda: os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)))
    attempt("signal the server", lambda: os.kill(@PID@, 0))
    attempt("read the server's environment", lambda: open("/proc/@PID@/environ").read())
    attempt("write its home", write(os.environ["HOME"] + "/x"))
    attempt("write a temporary file", lambda: tempfile.mkdtemp())
    attempt("write beside itself", write("built"))
    attempt("write its environment", write(ENV + "/mine"))
    attempt("lay links", lambda: [os.symlink(DATA + "/vault.key", ENV + name) for name in ("/.last-used", "/.complete.new")])
    attempt("lay rights", lambda: (os.mkdir(ENV + "/open"), os.chmod(ENV + "/open", 0o777)))
    attempt("stay", stay)
    name = "hostile-1.0-py3-none-any.whl"
    info = "hostile-1.0.dist-info/"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as z:
        z.writestr("hostile.py", "COULD = %r\nUID = %d\n" % (could, os.getuid()))
        z.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
        z.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(info + "RECORD", "hostile.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n")
    return name
"#;

const COULD: &str = "['write its home', 'write a temporary file', 'write beside itself', 'write its environment', \
                     'lay links', 'lay rights', 'stay']";

struct House {
    dir: tempfile::TempDir,
    paths: Paths,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().canonicalize().unwrap().join("data");
        let paths = Paths::new(&data);
        for folder in ["envs/other", "tools", "work", "bundles/code/pkg", "run"] {
            fs::create_dir_all(data.join(folder)).unwrap();
        }
        fs::create_dir(dir.path().join("beside")).unwrap();
        fs::write(paths.vault_key(), "secret").unwrap();
        fs::set_permissions(paths.vault_key(), Permissions::from_mode(0o600)).unwrap();
        // uv stays there between runs.
        let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("build-tools/uv");
        if tools.exists() {
            std::os::unix::fs::symlink(tools, paths.tools().join("uv")).unwrap();
        }
        Self { dir, paths }
    }

    fn code(&self) -> PathBuf {
        self.paths.bundles().join("code")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.code().join(name), text).unwrap();
    }

    async fn prepare(&self) -> (Environment, Vec<String>) {
        let confine = Confine::new(&self.paths, env!("CARGO_BIN_EXE_runyard-build-test").into());
        let plan = plan(&self.code(), Path::new("handler.py")).unwrap();
        let mut lines = Vec::new();
        let keep = |line: &str| lines.push(line.to_owned());
        let made = prepare(&plan, &self.paths.envs(), &self.paths.tools(), Some(&confine), keep).await;
        (made.unwrap_or_else(|error| panic!("{error}: {:?}", error.last_lines)), lines)
    }
}

fn python(environment: &Environment, code: &str) -> String {
    let output = Command::new(&environment.python).args(["-I", "-c", code]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Whether a process with this first argument is there.
fn lives(name: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|p| fs::read(p.path().join("cmdline")).ok())
        .any(|line| line.starts_with(name.as_bytes()))
}

#[tokio::test]
async fn a_hostile_package_reaches_its_environment_only() {
    let house = House::new();
    let name = format!("stayed-{}", std::process::id());
    house.write("handler.py", "import hostile");
    house.write("requirements.txt", "./pkg\n");
    let pyproject = "[build-system]\nrequires = []\nbackend-path = ['.']\nbuild-backend = 'backend'\n\
                     [project]\nname = 'hostile'\nversion = '1.0'\n";
    house.write("pkg/pyproject.toml", pyproject);
    // The environment's name depends on what is in the package: it is told by a link.
    let link = house.dir.path().join("beside/env");
    let places = [house.paths.data.clone(), link.clone(), house.dir.path().join("beside")];
    let places: Vec<String> = places.iter().map(|path| format!("{:?}", path.display().to_string())).collect();
    let backend = BACKEND
        .replace("@@", &format!("{}, {name:?}", places.join(", ")))
        .replace("@PID@", &std::process::id().to_string());
    house.write("pkg/backend.py", &backend);
    let hash = plan(&house.code(), Path::new("handler.py")).unwrap().hash;
    std::os::unix::fs::symlink(house.paths.envs().join(hash), link).unwrap();

    let (environment, lines) = house.prepare().await;
    let held = lines.iter().find(|line| line.starts_with("Packages are installed")).unwrap();
    if held.contains("without a boundary") {
        eprintln!("skipped: {held}");
        return;
    }
    assert!(held.contains("held by Landlock"), "{held}");
    assert_eq!(python(&environment, "import hostile; print(hostile.COULD)"), COULD);
    let root = rustix::process::geteuid().is_root();
    if root && held.contains("as user") {
        assert_eq!(python(&environment, "import hostile; print(63000 <= hostile.UID < 64000)"), "True");
        assert!(!lives(&name), "it stayed");
    }
    // What it laid is harmless.
    assert_eq!(fs::read_to_string(house.paths.vault_key()).unwrap(), "secret");
    let own = fs::metadata(house.paths.envs()).unwrap();
    for path in [environment.dir.clone(), environment.dir.join("mine"), environment.dir.join("lib")] {
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (own.uid(), own.gid()), "{}", path.display());
        if root {
            assert_eq!(meta.mode() & 0o022, 0, "{}", path.display());
        }
    }
    assert!(!environment.dir.join("code").exists());
    assert!(!root || fs::metadata(environment.dir.join("open")).unwrap().mode() & 0o022 == 0);
    // Nothing is left of its home, and the environment is found again.
    let homes = fs::read_dir(house.paths.cache()).unwrap().flatten();
    assert_eq!(homes.filter(|entry| entry.file_name().to_string_lossy().starts_with("home-")).count(), 0);
    assert!(house.prepare().await.0.cached);
    assert_eq!(fs::read_to_string(house.paths.vault_key()).unwrap(), "secret");
}

#[tokio::test]
async fn an_editable_package_is_installed_from_a_copy() {
    let house = House::new();
    house.write("handler.py", "import tiny");
    house.write("requirements.txt", "-e ./pkg\n");
    let pyproject = "[build-system]\nrequires = []\nbackend-path = ['.']\nbuild-backend = 'backend'\n\
                     [project]\nname = 'tiny'\nversion = '1.0'\n";
    house.write("pkg/pyproject.toml", pyproject);
    house.write("pkg/tiny.py", "VALUE = 42\n");
    // What setuptools does, in short: it writes beside the sources, and points back to them.
    house.write(
        "pkg/backend.py",
        "import os, zipfile
def build_editable(folder, settings=None, metadata=None):
    open('tiny.egg-info', 'w').write('x')
    info = 'tiny-1.0.dist-info/'
    with zipfile.ZipFile(os.path.join(folder, 'tiny-1.0-py3-none-any.whl'), 'w') as z:
        z.writestr('tiny.pth', os.getcwd())
        z.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n')
        z.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        z.writestr(info + 'RECORD', 'tiny.pth,,\\n' + info + 'METADATA,,\\n' + info + 'WHEEL,,\\n' + info + 'RECORD,,\\n')
    return 'tiny-1.0-py3-none-any.whl'
def build_wheel(folder, settings=None, metadata=None):
    raise SystemExit('not editable')
",
    );
    let (environment, _) = house.prepare().await;
    let found = python(&environment, "import tiny; print(tiny.VALUE, tiny.__file__)");
    assert_eq!(found, format!("42 {}/code/pkg/tiny.py", environment.dir.display()));
    assert!(!house.code().join("pkg/tiny.egg-info").exists());
}
