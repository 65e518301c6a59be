"""An authority that gives certificates by ACME: Debian's `pebble`, which refuses a nonce now and then as real ones do,
and the name server that it asks, to which every name is this machine."""

import json
import os
import shutil
import ssl
import subprocess
import urllib.request

from .wire import until
from .yard import REPOSITORY, free_port

# Of a made-up authority, for localhost: what pebble itself shows.
FILES = REPOSITORY / "crates/listener/tests/tls"


class Authority:
    """Running until `close`. It looks for proofs at `port` of this machine."""

    def __init__(self, root, port, life=None):
        self.root, self.listen, self.manage, dns = root, free_port(), free_port(), free_port()
        self.directory = f"https://localhost:{self.listen}/dir"
        config = {
            "listenAddress": f"127.0.0.1:{self.listen}", "managementListenAddress": f"127.0.0.1:{self.manage}",
            "certificate": str(FILES / "first.pem"), "privateKey": str(FILES / "first.key"),
            "httpPort": free_port(), "tlsPort": port,
        }
        if life:
            config["certificateValidityPeriod"] = life
        (root / "pebble.json").write_text(json.dumps({"pebble": config}))
        env = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "5", "PEBBLE_AUTHZREUSE": "0"}
        self.log = open(root / "pebble.log", "wb")
        names = ["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "",
                 "-tlsalpn01", "", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{free_port()}"]
        server = ["pebble", "-strict", "-config", str(root / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"]
        self.running = [subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
                        for command in (names, server)]
        self.context = ssl.create_default_context(cafile=FILES / "ca.pem")
        until(self.root_certificate, 20)

    def root_certificate(self):
        """What its certificates hang on, in PEM; `None` while it does not answer."""
        try:
            url = f"https://localhost:{self.manage}/roots/0"
            with urllib.request.urlopen(url, context=self.context, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None

    @property
    def env(self):
        """What a server needs to ask it. It has to trust what pebble shows, as it would a public authority."""
        return {"RUNYARD_ACME_DIRECTORY": self.directory, "SSL_CERT_FILE": str(FILES / "ca.pem")}

    def close(self):
        for process in self.running:
            process.kill()
            process.wait()
        self.log.close()


def is_here():
    return shutil.which("pebble") is not None
