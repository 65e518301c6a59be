"""Calls every operation of RunPod's REST v2 with generated data and checks each answer against its specification: the
status, the headers, the content type and the shape. Valid data has to be taken somewhere, invalid data refused.

    python contract.py SPECIFICATION BASE_URL SEEDS EXAMPLES

SEEDS is JSON: ids of things that are there, the image and the data centre that can be used, and what is left out. The key
is read from RUNPOD_API_KEY. Prints one line of JSON: statuses by operation, and what was wrong.
"""

import json
import os
import random
import sys
from collections import defaultdict
from pathlib import Path

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
          response_schema_conformance, negative_data_rejection]
MOST_WRONG = 20

specification, base, seeds, examples = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4])
key = {"Authorization": f"Bearer {os.environ['RUNPOD_API_KEY']}"}
document = json.loads(Path(specification).read_text())
left_out = [path for path in document["paths"] if any(path.startswith(part) for part in seeds["without"])]
for path in left_out:
    del document["paths"][path]
for part in (document, *(each for methods in document["paths"].values() for each in methods.values() if isinstance(each, dict))):
    # Every call has the key: what comes without one is the matter of crates/server/tests/routes.
    part.pop("security", None)
document["components"].pop("securitySchemes", None)
schema = schemathesis.openapi.from_dict(document)
session = requests.Session()
dice = random.Random(7)
seen, wrong = defaultdict(lambda: defaultdict(int)), []


def kinds(path):
    """Which ids belong into a path."""
    return next((ids for start, ids in seeds["ids"].items() if path.startswith(start)), {})


def settle(case):
    """Puts what there is into most calls: ids made up lead nowhere, and names made up to no image."""
    ids = kinds(case.path)
    for name in list(case.path_parameters or {}):
        # The first of each stays; only that one has a worker.
        there = ids.get(name, [])
        there = there[1:][-4:] if case.method == "DELETE" else there[:1] if "worker" in case.path else there
        if there and dice.random() < 0.85:
            case.path_parameters[name] = dice.choice(there)
    body = case.body
    if not isinstance(body, dict) or dice.random() < 0.15:
        return
    for name, value in seeds["body"].items():
        if name in body:
            body[name] = value
    if case.method == "POST" and isinstance(body.get("name"), str):
        body["name"] = f"{body['name'][:40]}{dice.randrange(1 << 40):x}"
    if case.path == "/v2/serverless" and "type" in body:
        body["type"] = "QUEUE"
    for unfit in ("registry", "timeout", "env", "args", *(("cpu",) if "gpu" in body else ())):
        body.pop(unfit, None)
    if isinstance(body.get("workers"), dict):
        body["workers"] = {"min": 0, "max": 1}


def learn(case, response):
    """What a call made is used by later ones, and deleted by a few."""
    if case.method == "POST" and response.status_code == 201:
        made = response.json()["id"]
        for ids in (ids for start, ids in seeds["ids"].items() if case.path == start):
            ids["id"].append(made)


def told(label, work):
    """Does it, and notes what was wrong."""
    try:
        work()
    except Unsatisfiable:
        pass  # What takes no data cannot be given wrong data.
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001: each is told
        causes = error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
        wrong.extend(f"{label}: {cause}" for cause in causes)


def linked(operation):
    """A change of what is there, by hand: generated ones need not fit it."""
    label = f"{operation.method.upper()} {operation.path}"
    body = seeds["change"].get(label)
    if body is None:
        return
    case = operation.Case(path_parameters={"id": kinds(operation.path)["id"][0]}, body=body, media_type="application/json")
    response = case.call(base_url=base, session=session, headers=key, timeout=20)
    seen[label][response.status_code] += 1
    case.validate_response(response, checks=CHECKS[:-1], headers=key)


def call(operation, mode, count):
    label = f"{operation.method.upper()} {operation.path}"

    @seeded(7)
    @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def once(case):
        if mode == GenerationMode.POSITIVE:
            settle(case)
        response = case.call(base_url=base, session=session, headers=key, timeout=20)
        seen[label][response.status_code] += 1
        if "ratelimit" not in response.headers or "x-request-id" not in response.headers:
            wrong.append(f"{label}: {response.status_code} without the headers of a call")
        learn(case, response)
        checks = CHECKS if mode == GenerationMode.NEGATIVE else CHECKS[:-1]
        if "text/event-stream" in str(response.headers.get("content-type")):
            # Its schema is of the text of the stream, and would be held against each event.
            checks = [check for check in checks if check is not response_schema_conformance]
        case.validate_response(response, checks=checks, headers=key)

    told(label, once)


for found in schema.get_all_operations():
    operation = found.ok()
    told(operation.label, lambda: linked(operation))
    call(operation, GenerationMode.POSITIVE, examples)
    call(operation, GenerationMode.NEGATIVE, examples // 2)
for made in seeds["ids"]["/v2/serverless"]["id"]:
    session.delete(f"{base}/v2/serverless/{made}", headers=key, timeout=20)
print(json.dumps({"seen": seen, "wrong": wrong[:MOST_WRONG]}))
