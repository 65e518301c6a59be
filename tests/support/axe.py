"""axe-core, which finds what people with other eyes and hands cannot use: from npm, once, under its checksum."""

import hashlib
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

from .envs import locked, target

VERSION = "4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


def source():
    """Its text; installs it where it is not there yet."""
    file = target() / f"test-tools/axe-{VERSION}.js"
    with locked(file.with_suffix(".lock")):
        if not file.is_file():
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run(
                    ["npm", "pack", "--silent", f"axe-core@{VERSION}"], cwd=folder, check=True, timeout=300,
                    stdout=subprocess.DEVNULL,
                )
                (packed,) = Path(folder).glob("*.tgz")
                with tarfile.open(fileobj=io.BytesIO(packed.read_bytes())) as archive:
                    text = archive.extractfile("package/axe.min.js").read()
            file.write_bytes(text)
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        assert found == SHA256, f"axe-core {VERSION} is another than it was: {found}"
        return file.read_text()
