"""A base image from the host's own Python: interpreter, standard library, the SDK of the tests' environment, a shell
and the libraries that these need, packed as one archive that an engine imports. No registry and no package index is
asked. It lies under `target/test-envs`, named by what it holds, and stays there.

The name is that of the image which Dockerfiles begin with in the world outside, so that theirs build here as they are.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from .envs import locked, target

BASE = "python:3.11-slim"
TOOLS = ("sh", "bash", "env", "cat", "ls", "sleep", "kill", "id", "mkdir", "dirname", "true", "rm")
# What wheels need and no program here is linked against.
EXTRA = ("libgcc_s.so.1", "libstdc++.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libm.so.6",
         "libresolv.so.2", "libnss_dns.so.2", "libnss_files.so.2")
LEFT_OUT = {"test", "tests", "idlelib", "__pycache__", "site-packages", "dist-packages", "ensurepip", "lib2to3", "uv"}
ASK = """
import json, os, sys, sysconfig
print(json.dumps({"exe": os.path.realpath(sys.executable), "stdlib": os.path.realpath(sysconfig.get_path("stdlib")),
    "site": sysconfig.get_path("purelib"), "version": sys.version}))
"""


def base_archive(python):
    """The archive's path; made where it is not there yet."""
    found = json.loads(subprocess.run([python, "-c", ASK], check=True, capture_output=True, text=True).stdout)
    packages = sorted(path.name for path in Path(found["site"]).glob("*.dist-info"))
    key = hashlib.sha256(json.dumps([found, packages, Path(__file__).read_text()]).encode()).hexdigest()[:12]
    archive = target() / "test-envs" / f"base-image-{key}.tar"
    with locked(archive.with_suffix(".lock")):
        if not archive.is_file():
            draft = archive.with_suffix(".draft")
            with tarfile.open(draft, "w") as tar:
                pack(tar, found)
            draft.rename(archive)
    return archive


def pack(tar, found):
    """The tree."""
    stdlib, site = Path(found["stdlib"]), Path(found["site"])
    exe = Path(found["exe"])
    taken = set()
    for name in ("bin", "sbin", "lib", "lib64"):
        link(tar, name, f"usr/{name}")
    for name in ("tmp", "root", "proc", "sys", "dev", "usr/local/bin", "usr/lib64", "usr/sbin", "var/tmp"):
        folder(tar, name, 0o1777 if name.endswith("tmp") else 0o755)
    programs = [exe, *(Path(shutil.which(tool)) for tool in TOOLS)]
    for program in programs:
        put(tar, program, Path("/usr/bin") / program.name if program != exe else exe, taken)
    for name in ("python", "python3"):
        link(tar, f"usr/local/bin/{name}", str(exe))
    tree(tar, stdlib, stdlib, taken)
    tree(tar, site, Path("/opt/site"), taken)
    text(tar, "usr/local/bin/pip", '#!/bin/sh\nexec python -m pip "$@"\n', 0o755)
    objects = [*programs, *stdlib.glob("lib-dynload/*.so")]
    for library in libraries(objects):
        put(tar, Path(os.path.realpath(library)), Path(os.path.realpath(Path(library).parent)) / Path(library).name, taken)
    text(tar, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    text(tar, "etc/group", "root:x:0:\nnogroup:x:65534:\n")
    text(tar, "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.is_file():
        put(tar, certificates, certificates, taken)


def libraries(objects):
    """The libraries of these files, and the further ones."""
    found = set()
    for path in objects:
        # One by one: it fails on what is not linked, and the others shall count.
        said = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
        found.update(re.findall(r"(?:=> )?(/\S+) \(0x", said))
    cache = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    for name in EXTRA:
        places = re.findall(rf"^\s*{re.escape(name)} \(libc6[^)]*\) => (\S+)$", cache, re.MULTILINE)
        found.update(places[:1])
    return sorted(found)


def tree(tar, source, place, taken):
    """A folder, less what nobody needs here."""
    for path, folders, files in os.walk(source):
        folders[:] = sorted(f for f in folders if f not in LEFT_OUT and not f.startswith("config-"))
        for file in sorted(files):
            if not file.endswith((".pyc", ".a")) and file != "EXTERNALLY-MANAGED":
                put(tar, Path(path) / file, place / Path(path).relative_to(source) / file, taken)


def put(tar, source, place, taken):
    name = str(place).lstrip("/")
    for short in ("bin/", "sbin/", "lib/", "lib64/"):
        if name.startswith(short):
            name = f"usr/{name}"
    if name in taken or not source.is_file():
        return
    taken.add(name)
    info = tarfile.TarInfo(name)
    info.size = source.stat().st_size
    info.mode = 0o755 if os.access(source, os.X_OK) else 0o644
    with open(source, "rb") as content:
        tar.addfile(info, content)


def link(tar, name, goal):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, goal
    tar.addfile(info)


def folder(tar, name, mode):
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    tar.addfile(info)


def text(tar, name, content, mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content.encode()))
