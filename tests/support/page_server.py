"""A folder of files as another web server than runyard would serve it: an origin of its own, with TLS where there is a
certificate."""

import ssl
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Files(SimpleHTTPRequestHandler):
    """Answers with files of its folder."""

    def log_message(self, *_):
        """Is silent."""


class PageServer:
    """Running until `close`, at `https` or `http`, under the name `localhost`."""

    def __init__(self, folder, certificate=None, key=None):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder)))
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.origin = f"http{'s' if certificate else ''}://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
