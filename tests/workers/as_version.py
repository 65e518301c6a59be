"""Becomes a worker of one of several SDKs, so that workers of different makes serve one endpoint: whoever starts
takes the first of `FIELD_SDKS` (`{name: [program, argument, …]}` as JSON) that no living worker of the endpoint has.

Who has one holds the lock of its file in `FIELD_LOCKS`, an open file that outlives `exec` and ends with the worker.
With `FIELD_PROXY` (`host:port`) the worker's requests go through that proxy, which finds the server's address as
the first part of their path.
"""

import fcntl
import json
import os
import re
import sys

sdks = json.loads(os.environ["FIELD_SDKS"])


def free(name):
    """Takes the lock of a make, for as long as this process and its children live."""
    file = os.open(os.path.join(os.environ["FIELD_LOCKS"], name), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    os.set_inheritable(file, True)
    return True


# While a worker is being replaced there is one more than makes: that one doubles the first.
chosen = next((name for name in sdks if len(sdks) > 1 and free(name)), next(iter(sdks)))
if proxy := os.environ.get("FIELD_PROXY"):
    for name, value in os.environ.items():
        if name.startswith("RUNPOD_WEBHOOK_"):
            os.environ[name] = re.sub(r"^http://", f"http://{proxy}/", value)
print("this worker is of", chosen, file=sys.stderr, flush=True)
# 1.7 takes a whole core while it waits: the server and the tests come first.
os.nice(5)
os.execv(sdks[chosen][0], sdks[chosen])
