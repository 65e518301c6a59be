"""Calls every operation of this server's own OpenAPI document with generated data and checks each answer against it: the
status, the content type, the headers and the shape. Invalid data has to be refused.

    python contract.py BASE_URL SEEDS EXAMPLES

SEEDS is JSON: what is there, by the names of paths' parameters; bodies that have to be taken; what is left out. The key is
read from RUNYARD_API_KEY, the document from the server. Prints one line of JSON: statuses by operation, and what was wrong.
"""

import base64
import json
import os
import random
import sys
from collections import defaultdict

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

base, seeds, examples = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
key = {"Authorization": f"Bearer {os.environ['RUNYARD_API_KEY']}"}
document = requests.get(f"{base}/api/v1/openapi.json", timeout=20).json()
operations = {
    f"{method.upper()} {path}": operation for path, methods in document["paths"].items() for method, operation in methods.items()
}


def close(schema):
    """An answer with a field that its schema does not name is wrong, too."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            close(part)
    elif isinstance(schema, list):
        for part in schema:
            close(part)


close(document["components"]["schemas"])
for methods in document["paths"].values():
    for operation in methods.values():
        close(operation["responses"])
        # Every call has the key: what comes without one is the matter of crates/server/tests/routes.
        operation.pop("security", None)
for path in seeds["without"]:
    del document["paths"][path]
document.pop("security")
document["components"].pop("securitySchemes")
schema = schemathesis.openapi.from_dict(document)
session = requests.Session()
dice = random.Random(7)
seen, wrong = defaultdict(lambda: defaultdict(int)), []


def there(path, name):
    """What can stand in a path for a parameter."""
    found = next((ids for start, ids in seeds["there"].items() if path.startswith(start) and name in ids), {})
    return found.get(name, [])


def settle(case):
    """Puts what there is into most calls: ids made up lead nowhere."""
    for name in list(case.path_parameters or {}):
        known = there(case.path, name)
        # The first of each stays.
        known = known[1:][-4:] if case.method == "DELETE" else known[:1]
        if known and dice.random() < 0.85:
            case.path_parameters[name] = dice.choice(known)
    if case.query:
        # A list that is followed goes on for ever.
        case.query.pop("follow", None)
        if dice.random() < 0.7:
            for name in ("endpoint", "job", "worker", "cursor"):
                case.query.pop(name, None)
    for name in ("if-match", "if-none-match"):
        if case.headers and dice.random() < 0.7:
            case.headers.pop(name, None)
    body = case.body
    if isinstance(body, dict) and case.method == "POST" and isinstance(body.get("name"), str) and dice.random() < 0.7:
        body["name"] = f"{body['name'][:20].rstrip('.-_')}{dice.randrange(1 << 40):x}"


def learn(case, response):
    """What a call made is used by later ones, and deleted by a few."""
    if case.method == "POST" and response.status_code in (200, 201):
        for name, ids in seeds["there"].get(f"{case.path}/", {}).items():
            made = response.json()
            ids.append(made.get("id") if name in ("id", "ep", "member") else made.get("name"))
    if case.method == "PUT" and case.path == "/api/v1/secrets/{name}" and response.status_code == 200:
        seeds["there"]["/api/v1/secrets/"]["name"].append(response.json()["name"])


def told(label, work):
    """Does it, and notes what was wrong."""
    try:
        work()
    except Unsatisfiable:
        pass  # What takes no data cannot be given wrong data.
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001: each is told
        causes = error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
        wrong.extend(f"{label}: {cause}" for cause in causes)


def check(case, response, label, checks):
    seen[label][response.status_code] += 1
    if "x-request-id" not in response.headers:
        wrong.append(f"{label}: {response.status_code} without the request's id")
    if "json" not in str(response.headers.get("content-type")):
        checks = [each for each in checks if each is not response_schema_conformance]
    case.validate_response(response, checks=checks, headers=key)


def linked(operation, label):
    """Calls with bodies by hand: generated ones need not fit what is there."""
    for call in seeds["calls"].get(label, []):
        parameters = {name: there(operation.path, name)[0] for name in call.get("path", {})} | call.get("path", {})
        names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
        parameters = {name: parameters.get(name) or there(operation.path, name)[0] for name in names}
        headers = {**key, **call.get("headers", {})}
        url = base + operation.path.format(**parameters)
        data = base64.b64decode(call["bytes"]) if "bytes" in call else json.dumps(call.get("body", {}))
        if operation.method.upper() == "GET":
            data = None
        response = session.request(operation.method, url, data=data, headers=headers, timeout=60)
        case = operation.Case(path_parameters=parameters, body=call.get("body", {}), media_type="application/json")
        check(case, response, label, CHECKS[:-1])
        learn(case, response)
        if response.status_code >= 300:
            wrong.append(f"{label}: {response.status_code} {response.text[:500]} for {call}")


def call(operation, label, mode, count):
    @seeded(7)
    @settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def once(case):
        if mode == GenerationMode.POSITIVE:
            settle(case)
        elif case.query:
            case.query.pop("follow", None)
        response = case.call(base_url=base, session=session, headers=key, timeout=60)
        learn(case, response)
        check(case, response, label, CHECKS if mode == GenerationMode.NEGATIVE else CHECKS[:-1])

    told(label, once)


found = [operation.ok() for operation in schema.get_all_operations()]
# First what is made by hand and what needs the worker that is there, last what removes.
ORDER = ["PUT", "POST", "GET", "PATCH", "DELETE"]
found.sort(key=lambda each: (f"{each.method.upper()} {each.path}" not in seeds["by_hand"], ORDER.index(each.method.upper())))
for operation in found:
    label = f"{operation.method.upper()} {operation.path}"
    told(label, lambda: linked(operation, label))
    if label in seeds["by_hand"]:
        continue
    call(operation, label, GenerationMode.POSITIVE, examples)
    call(operation, label, GenerationMode.NEGATIVE, max(1, examples // 2))
print(json.dumps({"seen": seen, "wrong": wrong[:MOST_WRONG], "operations": sorted(operations)}))
