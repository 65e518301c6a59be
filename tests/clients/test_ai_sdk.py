"""Vercel's AI SDK with RunPod's own provider, `@runpod/ai-sdk-provider` 1.4.0: chat and completions on `/openai/v1`,
pictures, speech, transcription and films on the job API.
"""

import pytest

SAID = ["You ", "said: ", "good ", "morning ", "to ", "you "]


@pytest.fixture
def ai(clients):
    return lambda case: clients.node("ai.mjs", case)


def test_a_whole_answer(ai):
    assert ai("whole") == {"text": "You said: good morning to you", "total": 7, "finishReason": "stop"}


def test_a_streamed_answer(ai):
    assert ai("streamed") == {"pieces": SAID, "finish": "stop", "usage": 7}


def test_completions(ai):
    seen = ai("completion")
    assert "good morning to you" in seen["whole"]
    assert "".join(seen["pieces"]).strip() == seen["whole"]


def test_errors(ai):
    seen = ai("errors")
    called = {name: (seen[name]["name"], seen[name]["statusCode"], seen[name]["isRetryable"])
              for name in ("model", "crash", "stranger", "strangersImage", "nowhere")}
    assert called == {
        "model": ("AI_APICallError", 404, False), "crash": ("AI_APICallError", 500, True),
        "stranger": ("AI_APICallError", 401, False), "strangersImage": ("AI_APICallError", 401, False),
        "nowhere": ("AI_APICallError", 404, False),
    }
    assert seen["model"]["message"] == "The model `gone` does not exist."
    assert "the engine is gone" in seen["crash"]["message"]
    for name in ("stranger", "strangersImage"):
        assert "the API key is not known here" in seen[name]["message"]
    assert "'nowhere'" in seen["nowhere"]["message"]
    (streamed,) = seen["modelStreamed"]["errors"]
    assert (streamed["statusCode"], streamed["message"]) == (404, "The model `gone` does not exist.")
    (broken,) = seen["breaks"]["errors"]
    assert seen["breaks"]["pieces"] == SAID[:3] and "illegal memory access" in broken["message"]


def test_a_call_that_is_given_up(ai):
    assert ai("abort")["name"] in ("AbortError", "TimeoutError")


def test_pictures(ai, bucket):
    bucket.RequestHandlerClass.seen.clear()
    seen = ai("image")
    assert seen["image"] == "bytes of /picture.png"
    assert seen["metadata"] == [{"url": f"http://127.0.0.1:{bucket.server_port}/picture.png", "cost": 0.01}]
    assert "no paint" in seen["failed"]["message"]
    for _, headers in bucket.RequestHandlerClass.seen:
        assert "authorization" not in {name.lower() for name in headers}, "the key stays with us"


def test_speech_transcription_and_films(ai, bucket):
    assert ai("speech") == "bytes of /speech.wav"
    segment = {"text": "hello", "startSecond": 0, "endSecond": 0.5}
    assert ai("transcription") == {"text": "hello", "language": "en", "segments": [segment]}
    film = f"http://127.0.0.1:{bucket.server_port}/film.mp4"
    assert ai("video") == [{"type": "url", "url": film, "mediaType": "video/mp4"}]
