//! What workers can reach, as they find out by trying.

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use runyard_runtime::Runtime as _;

use crate::harness::Harness;

/// Tries everything and prints what it could do.
const PROBE: &str = r#"
import os, sys, socket
data, code = sys.argv[1], os.path.dirname(os.path.realpath(__file__))
def attempt(name, action):
    if __name__ != "__main__": return
    try:
        action()
        print("could", name)
    except OSError as error:
        print("could not", name, repr(error))
def read(path): return lambda: open(path, "rb").read()
def write(path): return lambda: open(path, "w").write("x")
attempt("read the vault key", read(data + "/vault.key"))
attempt("list the data directory", lambda: os.listdir(data))
attempt("write the data directory", write(data + "/new"))
attempt("read another worker", read(os.path.join(data, "work", "other", "secret")))
attempt("read the agent key", read(data + "/run/agent.key"))
attempt("read through proc", read("/proc/self/root" + data + "/vault.key"))
attempt("read the agent's environment", read("/proc/%d/environ" % os.getppid()))
attempt("write the code", write(code + "/handler.py"))
attempt("signal the agent", lambda: os.kill(os.getppid(), 0))
attempt("make a link to the key", lambda: os.link(data + "/vault.key", os.environ["TMPDIR"] + "/key"))
attempt("write its folder", write(os.environ["HOME"] + "/mine"))
attempt("write its temporary folder", write(os.environ["TMPDIR"] + "/mine"))
attempt("make a folder and rename it", lambda: (os.mkdir("%s/a" % os.environ["HOME"]), os.rename("%s/a" % os.environ["HOME"], "%s/b" % os.environ["TMPDIR"])))
attempt("write to nothing", write("/dev/null"))
attempt("read randomness", lambda: open("/dev/urandom", "rb").read(4))
attempt("import its library", lambda: __import__("carried"))
attempt("import the standard library", lambda: __import__("json.tool"))
# Opened only: where it succeeds, nothing shall happen to the machine.
def control(path): return lambda: os.close(os.open(path, os.O_WRONLY))
attempt("set the core pattern", control("/proc/sys/kernel/core_pattern"))
attempt("set a kernel's variable", control("/proc/sys/kernel/hostname"))
attempt("press a magic key", control("/proc/sysrq-trigger"))
attempt("change another process", control("/proc/%d/oom_score_adj" % os.getppid()))
attempt("write to sys", control("/sys/kernel/uevent_helper" if os.path.exists("/sys/kernel/uevent_helper") else "/sys/kernel/mm/transparent_hugepage/enabled"))
attempt("write to the kernel's log", control("/dev/kmsg"))
def connect(path, kind=socket.AF_UNIX):
    s = socket.socket(kind)
    s.settimeout(5)
    s.connect(path)
    return s
def use(path):
    s = connect(path)
    s.sendall(b"GET /info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    if b"200" not in s.recv(100).split(b"\r\n")[0]: raise OSError("refused")
attempt("use the agent's socket", lambda: use(data + "/run/agent.sock"))
attempt("reach the server's socket", lambda: connect(data + "/run/server.sock"))
attempt("reach an abstract socket", lambda: connect("\0" + data))
def own_socket():
    import shutil, tempfile
    # Nothing new can be made in the shared folder that the data directory itself is in.
    shared = "/var/tmp" if data.startswith("/tmp/") else "/tmp"
    for folder in (shared, os.environ["TMPDIR"]):
        path = tempfile.mkdtemp(dir=folder) + "/s"
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()
        connect(path)
        shutil.rmtree(os.path.dirname(path))
attempt("reach sockets of its own", own_socket)
def double(n): return 2 * n
def processes():
    import multiprocessing, threading
    from concurrent.futures import ProcessPoolExecutor
    with multiprocessing.Pool(2) as pool: assert pool.map(double, [1, 2]) == [2, 4]
    assert multiprocessing.Manager().list([1])[0] == 1
    from multiprocessing.shared_memory import SharedMemory
    memory = SharedMemory(create=True, size=10); memory.unlink()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as pool:
        assert pool.submit(double, 3).result() == 6
    open("/proc/self/task/%d/comm" % threading.get_native_id(), "w").write("named")
attempt("use processes", processes)
attempt("make a socket", lambda: socket.socket().bind(("127.0.0.1", 0)))
"#;

const COULD: [&str; 10] = [
    "could write its folder",
    "could write its temporary folder",
    "could make a folder and rename it",
    "could write to nothing",
    "could read randomness",
    "could import its library",
    "could import the standard library",
    "could reach sockets of its own",
    "could use processes",
    "could make a socket",
];

/// How many things it tries.
const TRIED: usize = 29;

/// What a worker could do, and as which user; `python` is its interpreter.
async fn probe(h: &Harness, python: &str, in_place: bool) -> (Vec<String>, String) {
    let data = &h.paths.data;
    fs::write(h.paths.vault_key(), "secret").unwrap();
    fs::set_permissions(h.paths.vault_key(), fs::Permissions::from_mode(0o600)).unwrap();
    let site = data.join("envs/one/lib");
    fs::create_dir_all(&site).unwrap();
    fs::write(site.join("carried.py"), "x = 1").unwrap();
    fs::write(h.code.join("probe.py"), PROBE).unwrap();
    h.sh("other", "echo token > $HOME/secret; echo ready; exec sleep 1000").await;
    h.line("other", "ready").await;
    let address = SocketAddr::from_abstract_name(data.as_os_str().as_encoded_bytes()).unwrap();
    let _abstract = UnixListener::bind_addr(&address).unwrap();
    let _server = UnixListener::bind(h.paths.server_socket()).unwrap();
    fs::set_permissions(h.paths.server_socket(), fs::Permissions::from_mode(0o600)).unwrap();
    let mut spec = h.spec("w1", &[python, "probe.py", &data.display().to_string()]);
    spec.in_place = in_place;
    spec.read_dirs.push(data.join("envs/one").display().to_string());
    spec.env.insert("PYTHONPATH".to_owned(), site.display().to_string());
    h.start(spec).await;
    let exit = h.exit("w1").await;
    let printed = h.printed("w1");
    assert_eq!(exit.code, Some(0), "{printed:?}");
    assert_eq!(printed.iter().filter(|line| line.starts_with("could")).count(), TRIED, "{printed:?}");
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
    let root = rustix::process::geteuid().is_root();
    let (could, started) = probe(&h, &python(), false).await;
    assert!(started.contains("Landlock"), "{started}");
    assert_eq!(started.contains("as user 64"), root, "{started}");
    assert_eq!(without(could, &[OLD_KERNEL].map(|line| if root { "" } else { line })), COULD);
}

/// Before Landlock 9, who has the server's own user can reach its socket, which then wants its key.
const OLD_KERNEL: &str = "could reach the server's socket";

fn without(could: Vec<String>, lines: &[&str]) -> Vec<String> {
    could.into_iter().filter(|line| !lines.contains(&line.as_str())).collect()
}

/// The server's own user, be it root, has nothing but Landlock between itself and the machine.
#[tokio::test]
async fn landlock_alone_keeps_the_machine_from_code_that_runs_in_place() {
    let h = Harness::new().await;
    let line = h.runtime.boundary().await.unwrap();
    if line.starts_with("not a boundary") {
        eprintln!("skipped: {line}");
        return;
    }
    let (could, started) = probe(&h, &python(), true).await;
    assert!(started.contains("held by Landlock") && !started.contains("as user"), "{started}");
    let (written, rest): (Vec<_>, Vec<_>) =
        could.into_iter().partition(|line| line == "could write the code");
    assert_eq!(written.len(), 1);
    assert_eq!(without(rest, &[OLD_KERNEL]), COULD);
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
    let (could, started) = probe(&h, "/usr/bin/python3", false).await;
    assert!(started.contains("as user 64"), "{started}");
    assert_eq!(could, COULD);
}
