"""A worker that only comes up: it asks for jobs once, gives that up at once, says what it was given, and waits to be
ended. A test that read the journal then speaks in its name, well or badly.
"""

import http.client
import json
import os
import signal
from urllib.parse import urlsplit

ME = os.environ["RUNPOD_POD_ID"]
TAKE = urlsplit(os.environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", ME) + "&job_in_progress=0")

connection = http.client.HTTPConnection(TAKE.hostname, TAKE.port, timeout=0.3)
try:
    connection.request("GET", f"{TAKE.path}?{TAKE.query}")
    connection.getresponse()
except OSError:
    pass
connection.close()
with open(os.environ["JOURNAL"], "ab", buffering=0) as journal:
    journal.write((json.dumps({"worker": ME, "take": TAKE.geturl()}) + "\n").encode())
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    signal.pause()
