"""A proxy between workers and the server that counts what each worker asks, and that can bend requests on their way:
for tests of how often workers ask when they are idle, refused or wrongly answered.

HTTP/1.1 in a thread of its own, with connections kept, as a worker's own connection is.
"""

import asyncio
import json
import re
import threading
import time
from collections import deque
from urllib.parse import unquote

HEAD_LIMIT = 1 << 20
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ROUTE = re.compile(r"^/w/[^/]+/v2/[^/]+/(?P<verb>[a-z-]+)/(?P<worker>[^/?&]+)")


class Seen:
    """One request: when it came (monotonic), by whom, what for; of a take also what it was given, and when."""

    def __init__(self, path):
        route = ROUTE.match(path)
        self.at = time.monotonic()
        self.path = path
        self.verb = route["verb"] if route else None
        self.worker = route["worker"] if route else None
        size = re.search(r"[?&]batch_size=(\d+)", path)
        self.asked = int(size[1]) if size else 1
        self.given = None        # the ids of the jobs in the answer, once it came
        self.answered_at = None
        self.jobs = [job for value in re.findall(r"[?&]job_id=([^&]*)", path) for job in unquote(value).split(",")]


class CountingProxy:
    """Passes everything to `host:port`; `bend(path)` is the path that goes on."""

    def __init__(self):
        self.seen = []
        self.bend = lambda path: path
        self._open = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def since(self, moment):
        """What came after a moment."""
        return [seen for seen in list(self.seen) if seen.at >= moment]

    def cut(self):
        """Ends every connection, so that held polls come again."""
        def close():
            for writer in list(self._open):
                writer.close()

        self._loop.call_soon_threadsafe(close)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_LIMIT))
        self.port = server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        server.close()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _serve(self, reader, writer):
        """One connection of a worker: requests one after another, the upstream's answers as they come."""
        upstream, asked = None, deque()
        self._open.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, rest = head.split(b"\r\n", 1)
                method, path, version = first.split(b" ")
                # The first part of the path is the address that the server gave out.
                host, path = path.decode().lstrip("/").split("/", 1)
                path = f"/{path}"
                self.seen.append(Seen(path))
                asked.append(self.seen[-1])
                path = self.bend(path)
                if upstream is None:
                    name, port = host.split(":")
                    back, upstream = await asyncio.open_connection(name, int(port), limit=HEAD_LIMIT)
                    asyncio.ensure_future(self._answers(back, writer, upstream, asked))
                upstream.write(b" ".join((method, path.encode(), version)) + b"\r\n" + rest)
                if length := LENGTH.search(b"\r\n" + rest):
                    upstream.write(await reader.readexactly(int(length[1])))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._open.discard(writer)
            # Whoever hangs up on us hangs up on the server.
            for end in (upstream, writer):
                if end is not None:
                    end.close()

    @staticmethod
    async def _answers(back, writer, upstream, asked):
        """The answers to `asked`, in their order."""
        try:
            while True:
                head = await back.readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                body = await back.readexactly(int(length[1])) if length else b""
                seen = asked.popleft()
                if seen.verb in ("job-take", "job-take-batch"):
                    jobs = json.loads(body) if body and head.split(b" ", 2)[1] == b"200" else []
                    seen.given = [job["id"] for job in (jobs if isinstance(jobs, list) else [jobs])]
                    seen.answered_at = time.monotonic()
                writer.write(head + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            upstream.close()
