"""OpenAI's /v1/videos without an SDK: the bytes that clients send, now that OpenAI's own service has ended."""

import io
from collections.abc import Callable
from typing import Any

import openai
import pytest
from dialect_parts import ANIMATE, I2V, T2V, Worker, clip
from PIL import Image

from farm.jobs.job import Job
from farm.wire import task_ids
from tests.api.api_parts import TINY, Caller, picture
from tests.conftest import wait_until


@pytest.fixture
def alice(caller: Callable[..., Caller], worker: Worker) -> Caller:
    worker.offer(T2V, I2V, ANIMATE, TINY)
    return caller("alice")


def form(*parts: tuple[str, Any]) -> dict[str, Any]:
    """A multipart body, its parts in this order: (name, text) or (name, (file name, bytes))."""
    lines = []
    for name, value in parts:
        text = isinstance(value, str)
        head = f'Content-Disposition: form-data; name="{name}"'
        head += "" if text else f'; filename="{value[0]}"\r\nContent-Type: application/octet-stream'
        lines.append(f"--b\r\n{head}\r\n\r\n".encode() + (value.encode() if text else value[1]) + b"\r\n")
    return {"data": b"".join(lines) + b"--b--\r\n", "content_type": "multipart/form-data; boundary=b"}


def job_of(worker: Worker, video_id: str) -> Job:
    job = worker.ledger.get("alice", task_ids.job_id("openai", video_id) or "")
    assert job is not None
    return job


BASE = (("prompt", "a fox"), ("model", TINY))


def test_a_form_in_which_no_file_was_chosen(alice: Caller, worker: Worker) -> None:
    made = alice.post("/v1/videos", **form(*BASE, ("input_reference", ("", b""))))
    assert made.status_code == 200, made.text
    assert job_of(worker, made.json["id"]).spec.task == "t2v"


def test_a_picture_as_php_names_it(alice: Caller, worker: Worker) -> None:
    made = alice.post("/v1/videos", **form(*BASE, ("input_reference[]", ("a.png", picture()))))
    assert made.status_code == 200, made.text
    assert job_of(worker, made.json["id"]).spec.inputs["image"].stored


@pytest.mark.parametrize(
    ("part", "param"),
    [
        (("image", ("a.png", b"x")), "image"),
        (("reference[0]", ("a.png", b"x")), "reference[0]"),
        (("input_reference[file_id]", "file-123"), "input_reference"),
        (("input_reference[crop]", "1"), "input_reference.crop"),
        (("loras[][loro]", "x"), "loras.0.loro"),
        (("camera[pan]", "left"), "camera"),
        (("prompt", "another"), "prompt"),
    ],
)
def test_what_a_form_asks_and_nobody_reads_is_refused(alice: Caller, part: tuple[str, Any], param: str) -> None:
    made = alice.post("/v1/videos", **form(*BASE, part))
    assert (made.status_code, made.json["error"]["param"]) == (400, param), made.text
    assert alice.get("/v1/videos").json["data"] == []


def test_an_upload_stands_in_for_a_file_id(alice: Caller, worker: Worker) -> None:
    upload = alice.post("/v1/uploads").json
    assert alice.client.put(upload["url"], data=picture()).status_code == 200
    made = alice.post("/v1/videos", **form(*BASE, ("input_reference[file_id]", upload["id"])))
    assert made.status_code == 200, made.text
    assert job_of(worker, made.json["id"]).spec.inputs["image"].stored


def test_nested_fields_of_the_sdk_arrive(door: str, alice: Caller) -> None:
    """The SDK sends forms only: what it nests is either honoured or refused by its name."""
    with openai.OpenAI(base_url=f"{door}/v1", api_key=alice.key, max_retries=0) as sdk:
        asked = {"loras": [{"lora": "style-a", "scale": 0.5}, {"lora": "style-b", "scale": 0.7}]}
        for more in ({}, {"input_reference": ("a.png", io.BytesIO(picture()), "image/png")}):
            with pytest.raises(openai.BadRequestError) as caught:
                sdk.videos.create(prompt="a fox", model=TINY, extra_body=asked, **more)
            assert "style-a" in caught.value.message, "both LoRAs were read, and the first is not there"


@pytest.mark.parametrize("size", ["1280x720", "720x1280", "1024x1792", "1792x1024"])
@pytest.mark.parametrize("seconds", ["4", "8", "12"])
def test_openais_own_sizes_and_lengths_are_taken_and_told(
    alice: Caller, worker: Worker, size: str, seconds: str
) -> None:
    """By the default model and by the one whose pictures are multiples of 32."""
    for model in ("sora-2", TINY):
        asked = {"model": model, "prompt": "a fox", "size": size, "seconds": seconds}
        made = alice.post("/v1/videos", json=asked)
        assert made.status_code == 200, made.text
        assert (made.json["size"], made.json["seconds"]) == (size, seconds)
        spec = job_of(worker, made.json["id"]).spec
        assert (f"{spec.width}x{spec.height}", round(spec.frames / spec.fps)) == (size, int(seconds))
        worker.finish(worker.claim())
        done = alice.get(f"/v1/videos/{made.json['id']}").json
        assert (done["status"], done["size"], int(done["seconds"])) == ("completed", size, int(seconds))


def test_a_length_that_nobody_asked_for_is_whole(alice: Caller) -> None:
    made = alice.post("/v1/videos", json={"model": TINY, "prompt": "a fox"}).json
    assert int(made["seconds"]) == 1, "17 frames at 16 fps"
    asked = alice.post("/v1/videos", json={"model": TINY, "prompt": "a fox", "seconds": 1.5}).json
    assert asked["seconds"] == "1.5"


def finished(alice: Caller, worker: Worker, **asked: Any) -> str:
    made = alice.post("/v1/videos", json={"model": TINY, "prompt": "a fox", **asked})
    assert made.status_code == 200, made.text
    claim = worker.claim()
    worker.finish(claim)
    done = worker.ledger.get("alice", claim.job.id)
    assert done is not None
    assert done.artifacts is not None
    worker.store.put_bytes(done.artifacts.video, clip(1), "video/mp4")
    return str(made.json["id"])


def test_a_remix_is_the_same_with_another_prompt(alice: Caller, worker: Worker) -> None:
    first = finished(alice, worker, size="98x74", seconds="1", seed=7, negative_prompt="rain", steps=3)
    made = alice.post(f"/v1/videos/{first}/remix", json={"prompt": "a cat"})
    assert made.status_code == 200, made.text
    assert (made.json["remixed_from_video_id"], made.json["prompt"]) == (first, "a cat")
    assert (made.json["size"], made.json["seconds"]) == ("98x74", "1")
    before, after = job_of(worker, first).spec, job_of(worker, made.json["id"]).spec
    assert after.prompt == "a cat"
    assert {**before.to_json(), "prompt": ""} == {**after.to_json(), "prompt": ""}
    assert alice.get(f"/v1/videos/{made.json['id']}").json["remixed_from_video_id"] == first
    for body, status in (({}, 400), ({"prompt": "x", "size": "64x64"}, 400)):
        assert alice.post(f"/v1/videos/{first}/remix", json=body).status_code == status
    running = alice.post("/v1/videos", json={"model": TINY, "prompt": "x"}).json["id"]
    assert alice.post(f"/v1/videos/{running}/remix", json={"prompt": "x"}).status_code == 409
    assert alice.post("/v1/videos/video_1/remix", json={"prompt": "x"}).status_code == 404


def test_an_extension_begins_with_the_last_frame(alice: Caller, worker: Worker) -> None:
    first = finished(alice, worker, size="64x64")
    made = alice.post("/v1/videos/extensions", json={"prompt": "on", "seconds": "4", "video": {"id": first}})
    assert made.status_code == 200, made.text
    job = job_of(worker, made.json["id"])
    assert (job.spec.task, job.spec.width, job.spec.height, made.json["seconds"]) == ("i2v", 64, 64, "4")
    key = job.spec.inputs["image"].key
    assert key is not None
    shown = Image.open(io.BytesIO(worker.store.get_bytes(key, 10**6))).convert("L")
    assert abs(shown.getpixel((32, 32)) - 15 * 8) < 12, "the 16th frame of the clip"
    refused = alice.post(
        "/v1/videos/extensions", **form(("prompt", "on"), ("seconds", "4"), ("video", ("a.mp4", b"x")))
    )
    assert (refused.status_code, refused.json["error"]["param"]) == (400, "video")


def test_an_edit_goes_to_vace_or_is_refused(alice: Caller, worker: Worker) -> None:
    first = finished(alice, worker, size="64x64")
    asked = {"prompt": "in snow", "video": {"id": first}}
    refused = alice.post("/v1/videos/edits", json=asked)
    assert (refused.status_code, "vace" in refused.json["error"]["message"]) == (400, True)
    worker.offer(T2V, I2V, ANIMATE, TINY, "wan2.2-vace-fun-a14b-tiny")
    wait_until(lambda: alice.post("/v1/videos/edits", json=asked).status_code == 200, what="VACE to be offered")
    made = alice.post("/v1/videos/edits", **form(("prompt", "in snow"), ("video[id]", first)))
    assert made.status_code == 200, made.text
    assert job_of(worker, made.json["id"]).spec.task == "vace"
    by_file = alice.post("/v1/videos/edits", **form(("prompt", "in snow"), ("video", ("a.mp4", clip(1)))))
    assert by_file.status_code == 200, by_file.text
    assert job_of(worker, by_file.json["id"]).spec.inputs["video"].stored


def test_characters_are_refused_clearly(alice: Caller) -> None:
    for told in (alice.post("/v1/videos/characters", json={}), alice.get("/v1/videos/characters/char_1")):
        assert told.status_code == 404
        assert "input_reference" in told.json["error"]["message"]


def test_models_are_listed_as_openais_clients_look_for_them(door: str, alice: Caller) -> None:
    with openai.OpenAI(base_url=f"{door}/v1", api_key=alice.key, max_retries=0) as sdk:
        models = {model.id: model for model in sdk.models.list()}
        assert {"sora-2", "sora-2-pro", TINY} <= set(models)
        assert all(model.object == "model" and model.created > 10**9 and model.owned_by for model in models.values())
        assert sdk.models.retrieve("sora-2").id == "sora-2"
        assert sdk.models.retrieve(TINY).model_dump()["tasks"]
        with pytest.raises(openai.NotFoundError):
            sdk.models.retrieve("sora-9")
