//! What workers can reach, as they find out by trying.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use runyard_runtime::Runtime as _;

use crate::harness::Harness;

/// Tries everything and prints what it could do.
const PROBE: &str = r#"
import os, sys, socket
data = sys.argv[1]
def attempt(name, action):
    try:
        action()
        print("could", name)
    except OSError as error:
        print("could not", name)
def read(path): return lambda: open(path, "rb").read()
def write(path): return lambda: open(path, "w").write("x")
attempt("read the vault key", read(data + "/vault.key"))
attempt("list the data directory", lambda: os.listdir(data))
attempt("write the data directory", write(data + "/new"))
attempt("read another worker", read(data + "/work/other/secret"))
attempt("read the agent key", read(data + "/run/agent.key"))
attempt("read through proc", read("/proc/self/root" + data + "/vault.key"))
attempt("read the agent's environment", read("/proc/%d/environ" % os.getppid()))
attempt("write the code", write(os.getcwd() + "/handler.py"))
attempt("signal the agent", lambda: os.kill(os.getppid(), 0))
attempt("make a link to the key", lambda: os.link(data + "/vault.key", os.environ["TMPDIR"] + "/key"))
attempt("write its folder", write(os.environ["HOME"] + "/mine"))
attempt("write its temporary folder", write(os.environ["TMPDIR"] + "/mine"))
attempt("make a folder and rename it", lambda: (os.mkdir("%s/a" % os.environ["HOME"]), os.rename("%s/a" % os.environ["HOME"], "%s/b" % os.environ["TMPDIR"])))
attempt("write to nothing", write("/dev/null"))
attempt("read randomness", lambda: open("/dev/urandom", "rb").read(4))
attempt("import its library", lambda: __import__("carried"))
attempt("import the standard library", lambda: __import__("json.tool"))
attempt("make a socket", lambda: socket.socket().bind(("127.0.0.1", 0)))
"#;

const COULD: [&str; 8] = [
    "could write its folder",
    "could write its temporary folder",
    "could make a folder and rename it",
    "could write to nothing",
    "could read randomness",
    "could import its library",
    "could import the standard library",
    "could make a socket",
];

/// What a worker could do, and as which user; `python` is its interpreter.
async fn probe(h: &Harness, python: &str) -> (Vec<String>, String) {
    let data = &h.paths.data;
    fs::write(h.paths.vault_key(), "secret").unwrap();
    fs::set_permissions(h.paths.vault_key(), fs::Permissions::from_mode(0o600)).unwrap();
    let site = data.join("envs/one/lib");
    fs::create_dir_all(&site).unwrap();
    fs::write(site.join("carried.py"), "x = 1").unwrap();
    fs::write(h.code.join("probe.py"), PROBE).unwrap();
    h.sh("other", "echo token > $HOME/secret; echo ready; exec sleep 1000").await;
    h.line("other", "ready").await;
    let mut spec = h.spec("w1", &[python, "probe.py", &data.display().to_string()]);
    spec.read_dirs.push(data.join("envs/one").display().to_string());
    spec.env.insert("PYTHONPATH".to_owned(), site.display().to_string());
    h.start(spec).await;
    let exit = h.exit("w1").await;
    let printed = h.printed("w1");
    assert_eq!(exit.code, Some(0), "{printed:?}");
    assert_eq!(printed.iter().filter(|line| line.starts_with("could")).count(), 18, "{printed:?}");
    let could = printed.iter().filter(|line| line.starts_with("could ") && !line.starts_with("could not"));
    (could.cloned().collect(), printed[0].clone())
}

fn python() -> String {
    let found = std::process::Command::new("python3")
        .args(["-c", "import os, sys; print(os.path.realpath(sys.executable))"])
        .output()
        .unwrap();
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn landlock_keeps_workers_out_of_the_data_directory() {
    let h = Harness::new().await;
    let line = h.runtime.boundary().await.unwrap();
    if line.starts_with("not a boundary") {
        eprintln!("skipped: {line}");
        return;
    }
    let (could, started) = probe(&h, &python()).await;
    assert!(started.contains("Landlock"), "{started}");
    assert_eq!(could, COULD);
}

#[tokio::test]
async fn root_runs_workers_as_another_user_where_all_is_open() {
    let python = Path::new("/usr/bin/python3");
    if !rustix::process::geteuid().is_root() || !python.exists() {
        eprintln!("skipped: needs root and {}", python.display());
        return;
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let h = Harness::in_dir(dir).await;
    for folder in [h.paths.data.clone(), h.paths.bundles(), h.code.clone()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(h.runtime.boundary().await.unwrap().starts_with("another user"));
    let (could, started) = probe(&h, "/usr/bin/python3").await;
    assert!(started.contains("as user 64"), "{started}");
    assert_eq!(could, COULD);
}
