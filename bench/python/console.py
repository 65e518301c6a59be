"""How the console does on a full server: 500 workers, 10,000 jobs, and then five minutes of load with its pages open in a
real Chromium. Prints one JSON document. `cargo xtask bench --only=console` runs it; by hand:

    RUNYARD_BIN=target/release/runyard target/bench-python/bin/python bench/python/console.py
    … bench/python/console.py --quick                                 40 workers, 1,000 jobs, half a minute

Workers are shells that speak the worker protocol, so that
five hundred of them fit on a small machine; they are started by the agent like any other. What is measured:

- the bytes of the first page as they travel, with everything that it loads;
- the time from the beginning of a navigation to the numbers, and to the word that says that the page is live, of the
  first page and of pages that have much to show, and what processor time the server spends meanwhile;
- how many jobs a second are submitted and end, and what processors the server and the agent use for them and for the
  pages;
- the heap of each open tab after a collection, before and after the load.

The usual rate is two jobs a second, a hundred and seventy thousand a day; the load is twelve times that.
"""

import argparse
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support import browser as chromium  # noqa: E402
from support.console import signed_in  # noqa: E402
from support.wire import until  # noqa: E402
from support.yard import Yard  # noqa: E402

# A worker of a few lines: it asks for a job, answers with nothing, prints a line, and asks again.
STUB = r"""
take=${RUNPOD_WEBHOOK_GET_JOB#http://}; done_=${RUNPOD_WEBHOOK_POST_OUTPUT#http://}
take=${take//\$ID/$RUNPOD_POD_ID}; done_=${done_//\$RUNPOD_POD_ID/$RUNPOD_POD_ID}
host=${take%%/*}; name=${host%:*}; port=${host#*:}; take=/${take#*/}; done_=/${done_#*/}
while :; do
  exec 3<>/dev/tcp/$name/$port || { sleep 1; continue; }
  printf 'GET %s&job_in_progress=0 HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n' "$take" "$host" >&3
  answer=; while IFS= read -r -u 3 line || [ -n "$line" ]; do answer+=$line; done
  exec 3<&- 3>&-
  [[ $answer == *'"id":"'* ]] || continue
  id=${answer#*\"id\":\"}; id=${id%%\"*}
  echo "did $id"
  url=${done_//\$ID/$id}; body='{"output":1}'
  exec 3<>/dev/tcp/$name/$port || continue
  printf 'POST %s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s' \
    "$url" "$host" ${#body} "$body" >&3
  while IFS= read -r -u 3 line; do :; done
  exec 3<&- 3>&-
done
"""

# Notes when the numbers were there and when the page said that it is live.
NOTES = """
addEventListener('DOMContentLoaded', () => {
  window.shownAt = performance.now();
  const chip = document.getElementById('live-chip');
  const look = () => { if (chip?.dataset.state === 'live') window.liveAt ??= performance.now(); };
  if (chip) new MutationObserver(look).observe(chip, { attributes: true });
  look();
});
"""


def deployed(yard, workers):
    """An endpoint with so many workers that are always there."""
    folder = yard.root / "stub"
    folder.mkdir()
    (folder / "stub.sh").write_text(STUB)
    (folder / "handler.py").write_text(
        "import os\nhere = os.path.dirname(os.path.abspath(__file__))\n"
        "os.execv('/bin/bash', ['/bin/bash', os.path.join(here, 'stub.sh')])\n"
    )
    yard.deploy(folder, "full", "--handler", "handler.py", "--min", str(workers), "--max", str(workers), "--idle", "1h")

    def ready():
        counts = yard.wire.api("/endpoints/full")["workers"]
        return counts["idle"] + counts["running"] >= workers
    until(ready, 900, 1)


def load(yard, rate, stop):
    """So many jobs a second until it is told to stop; answers how many. One that is slow keeps no other waiting."""
    sent, began = 0, time.monotonic()
    with ThreadPoolExecutor(8) as several:
        while not stop.is_set():
            due = int((time.monotonic() - began) * rate)
            list(several.map(lambda n: yard.wire.run("full", {"n": n}), range(sent, due)))
            sent = max(sent, due)
            stop.wait(0.02)
    return sent


def spent(pid):
    """The seconds of processor time that a process has used, its own and the system's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(page, path, server, rounds=5):
    """The middle of several loads of a page: milliseconds to the numbers and to the word, and bytes that travelled."""
    shown, live, size, before = [], [], 0, spent(server)
    for _ in range(rounds):
        page.browser.heard[page.session] = []
        page.go(page.base + path)
        until(lambda: page.run("window.liveAt ?? 0") > 0, 30, 0.02)
        shown.append(page.run("window.shownAt"))
        live.append(page.run("window.liveAt"))
        heard = page.browser.heard.get(page.session, [])
        size = max(size, sum(
            said["params"]["encodedDataLength"] for said in heard if said["method"] == "Network.loadingFinished"
        ))
    middle = lambda values: round(sorted(values)[len(values) // 2], 1)
    cpu = round((spent(server) - before) / rounds * 1000, 1)
    return {"numbersMs": middle(shown), "liveMs": middle(live), "serverCpuMs": cpu, "bytes": int(size)}


def agent_of(yard):
    """The agent's process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if " agent --data " in line and str(yard.data) in line:
                return int(entry.name)
    raise LookupError("the agent is not there")


def heap(page):
    """The bytes that a tab holds once what is not needed is gone."""
    for _ in range(3):
        page.call("HeapProfiler.collectGarbage")
    return page.call("Runtime.getHeapUsage")["usedSize"]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true")
    options.add_argument("--workers", type=int, default=500)
    options.add_argument("--jobs", type=int, default=10_000)
    options.add_argument("--seconds", type=float, default=300)
    options.add_argument("--rate", type=float, default=24, help="jobs a second: twelve times two")
    asked = options.parse_args()
    if asked.quick:
        asked.workers, asked.jobs, asked.seconds = 40, 1_000, 30
    binary = Path(os.environ.get("RUNYARD_BIN", ROOT / "target/release/runyard"))
    say = lambda text: print(f"… {text}", file=sys.stderr, flush=True)
    yard = Yard(binary, gpus=2).start()
    browser = chromium.Browser()
    try:
        say(f"{asked.workers} workers")
        deployed(yard, asked.workers)
        say(f"{asked.jobs} jobs")
        with ThreadPoolExecutor(8) as several:
            list(several.map(lambda n: yard.wire.run("full", {"n": n}), range(asked.jobs)))
        until(lambda: yard.wire.api("/endpoints/full")["jobs"]["waiting"] == 0, 1800, 1)
        pages = {}
        page = signed_in(browser, yard)
        page.call("Page.addScriptToEvaluateOnNewDocument", source=NOTES)
        page.call("Network.setCacheDisabled", cacheDisabled=True)
        for path in ("/", "/endpoints", "/e/full", "/e/full/workers", "/e/full/metrics", "/e/full/telemetry", "/e/full/logs", "/jobs"):
            pages[path] = timed(page, path, yard.server.pid)
            say(f"{path}: {pages[path]}")
        page.close()
        tabs = {}
        for path in ("/", "/e/full/workers", "/e/full/metrics", "/e/full/logs", "/jobs"):
            tabs[path] = signed_in(browser, yard)
            tabs[path].go(tabs[path].base + path)
        say(f"{asked.seconds:.0f} s of {asked.rate:.0f} jobs a second")
        stop, sent = threading.Event(), []
        done = lambda: sum(yard.wire.api("/endpoints/full")["jobs"][state] for state in ("completed", "failed", "cancelled"))
        agent, first, began = agent_of(yard), done(), time.monotonic()
        server_before, agent_before = spent(yard.server.pid), spent(agent)
        loader = threading.Thread(target=lambda: sent.append(load(yard, asked.rate, stop)))
        loader.start()
        # What a page has at rest is there after its first changes.
        time.sleep(min(20, asked.seconds / 3))
        before = {path: heap(tab) for path, tab in tabs.items()}
        time.sleep(asked.seconds)
        after = {path: heap(tab) for path, tab in tabs.items()}
        ended, seconds = done() - first, time.monotonic() - began
        server_used, agent_used = spent(yard.server.pid) - server_before, spent(agent) - agent_before
        stop.set()
        loader.join()
        grown = {path: {"beforeBytes": before[path], "afterBytes": after[path], "grownBytes": after[path] - before[path]} for path in tabs}
        print(json.dumps({
            "workers": asked.workers, "jobs": asked.jobs, "pages": pages, "tabs": grown, "load": {
                "seconds": round(seconds, 1), "asked": asked.rate, "submitted": sent[0], "ended": ended,
                "perSecond": round(ended / seconds, 2),
                "serverCores": round(server_used / seconds, 3), "agentCores": round(agent_used / seconds, 3),
            },
        }, indent=2))
    finally:
        browser.close()
        yard.close()


if __name__ == "__main__":
    main()
