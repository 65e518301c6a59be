"""Other people's clients: `langchain-runpod` 0.2.0, and `fastsdk` 0.4.26, which reads statuses with POST."""


def test_langchain(clients, environment):
    interpreter = environment("langchain", "langchain-runpod==0.2.0")
    seen = clients.python(interpreter, "langchain_client.py")
    assert seen["invoke"] == "You said: good morning" and seen["chat"] == "You said: User: good morning"
    assert "".join(seen["stream"]) == "You said: hi" == "".join(seen["asynchronous"]["stream"])
    # Of an answer in worker-vllm's form this client reads the first part.
    assert seen["tokens"] == "You " == seen["asynchronous"]["invoke"]
    assert seen["asynchronous"]["many"] == ["You "] * 3
    errors = {name: (seen[name]["error"], seen[name]["message"]) for name in ("failed", "stranger", "nowhere")}
    assert {kind for kind, _ in errors.values()} == {"RunPodAPIError"}
    assert "status FAILED" in errors["failed"][1] and "not today" in errors["failed"][1]
    assert "401" in errors["stranger"][1] and "invalid api key" in errors["stranger"][1]
    assert "404" in errors["nowhere"][1]


def test_fastsdk(clients, environment, service):
    interpreter = environment("fastsdk", "fastsdk==0.4.26")
    seen = clients.python(interpreter, "fastsdk_client.py", env={"HOME": str(clients.folder)})
    assert seen["shouted"] == {"shouted": "GOOD MORNING"}
    assert "not today" in seen["failed"]["message"]
    assert seen["cancelled"]["ended"]["error"] == "TaskCancelledException"
    assert service.wire.wait("tasks", seen["cancelled"]["id"])["status"] == "CANCELLED"
