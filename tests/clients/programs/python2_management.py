"""The management functions of `runpod` 2.0.0rc2, one session after the other as somebody would write it.

    python python2_management.py IMAGE OTHER_IMAGE GPU
"""

import json
import sys
import time

import runpod
from runpod.api.rest import run_rest_request

image, other, gpu = sys.argv[1:]
seen = {}


def serves(endpoint, version):
    """Waits until a release serves: the first one may need an installation."""
    for _ in range(600):
        if run_rest_request("GET", f"/v2/serverless/{endpoint}/releases")["endpointVersion"] == version:
            return
        time.sleep(0.3)
    raise AssertionError(run_rest_request("GET", f"/v2/serverless/{endpoint}/releases"))


def refused(call, *given, **more):
    try:
        return {"value": call(*given, **more)}
    except Exception as error:  # noqa: BLE001: it is what is looked at
        return {"error": type(error).__name__, "message": str(error), "status": getattr(error, "status_code", None)}


seen["gpus"] = runpod.get_gpus()
seen["gpu"] = runpod.get_gpu(gpu)
seen["no gpu"] = refused(runpod.get_gpu, "NVIDIA B9000")
seen["pods"] = runpod.get_pods()
seen["no pod"] = runpod.get_pod("none")
seen["new pod"] = refused(runpod.create_pod, "p", image, gpu_type_id=gpu)

template = runpod.create_template("greets", image, is_serverless=True, env={"GREETING": "hello"}, ports="8888/http,22/tcp")
seen["template"] = template
seen["same name"] = refused(runpod.create_template, "greets", image)
seen["no image"] = refused(runpod.create_template, "bad", "nobody has/this")

made = runpod.create_endpoint("My Greeter", template["id"], gpu_ids="AMPERE_48,-NVIDIA RTX A6000", workers_max=2, idle_timeout=60, flashboot=True)
seen["endpoint"] = made
seen["listed"] = [each["id"] for each in runpod.get_endpoints()]
seen["no template"] = refused(runpod.create_endpoint, "x", "none")
seen["no pool"] = refused(runpod.create_endpoint, "x", template["id"], gpu_ids="HUGE_9000")
endpoint = runpod.Endpoint(made["id"])
serves(made["id"], 1)
seen["first"] = endpoint.run_sync({"name": "you"}, timeout=60)

second = runpod.create_template("waves", other, is_serverless=True, env={"GREETING": "bye"})
seen["moved"] = runpod.update_endpoint_template(made["id"], second["id"])
serves(made["id"], 2)
# A worker of the release before may take one more.
for _ in range(300):
    seen["second"] = endpoint.run_sync({"name": "you"}, timeout=60)
    if seen["second"]["said"] != seen["first"]["said"]:
        break
seen["releases"] = run_rest_request("GET", f"/v2/serverless/{made['id']}/releases")
seen["workers"] = run_rest_request("GET", f"/v2/serverless/{made['id']}/workers")

seen["keys"] = refused(runpod.update_user_settings, "ssh-ed25519 AAAA me\nssh-ed25519 BBBB you")
seen["kept keys"] = run_rest_request("GET", "/v2/account/ssh-keys")
seen["registry"] = refused(runpod.create_container_registry_auth, "hub", "me", "s3cr3t-word")
registry = seen["registry"].get("value")
if registry:
    seen["registry gone"] = runpod.delete_container_registry_auth(registry["id"])

run_rest_request("DELETE", f"/v2/serverless/{made['id']}")
for each in (template, second):
    run_rest_request("DELETE", f"/v2/templates/{each['id']}")
seen["left"] = [runpod.get_endpoints(), run_rest_request("GET", "/v2/templates")["templates"]]
print(json.dumps(seen))
