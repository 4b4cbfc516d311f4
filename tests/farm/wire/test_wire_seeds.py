"""Both directions against the documents' own examples: a codec tested only against itself agrees with its mistakes."""

import dataclasses
import json
from typing import Any

import pytest
import seed_texts
from seed_texts import answers, shape

from farm.jobs.draft import Draft, Source
from farm.jobs.states import State
from farm.wire import apixo, crun, kie, wiro, wiro_task
from farm.wire.report import Output, Report


def without(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k not in keys}


def test_the_texts_hold_what_these_tests_look_for() -> None:
    """A changed document must not quietly leave a test without cases."""
    counts = {
        name: (len(seed_texts.json_values(name)), len(seed_texts.curls(name)))
        for name in ("kie", "apixo", "crun", "wiro", "selfhosted")
    }
    assert counts == {"kie": (5, 3), "apixo": (5, 3), "crun": (2, 1), "wiro": (10, 6), "selfhosted": (9, 6)}


# --- create requests: the document's body becomes a draft, and the draft the same body again
@pytest.mark.parametrize("body", answers("kie", "model", "input"), ids=lambda b: b["model"].split("/")[-1])
def test_kie_create_bodies_are_understood_and_rendered_again(body: dict[str, Any]) -> None:
    draft = kie.parse_create(body)
    assert draft == dataclasses.replace(
        draft,
        task={"wan/2-2-animate-move": "animate", "wan/2-2-animate-replace": "replace"}[body["model"]],
        prompt=None,
        resolution="480p",
        webhook_url="https://your-domain.com/api/callback",
        inputs={
            "video": Source(url=body["input"]["video_url"]),
            "image": Source(url=body["input"]["image_url"]),
        },
    )
    assert kie.render_create(draft) == body


@pytest.mark.parametrize("body", answers("apixo", "input"), ids=lambda b: f"{b['request_type']}-{b['input']['type']}")
def test_apixo_create_bodies_are_understood_and_rendered_again(body: dict[str, Any]) -> None:
    draft = apixo.parse_create("wan-2-2-animate", body)
    assert draft.task == body["input"]["type"]
    assert draft.prompt == body["input"]["prompt"]
    assert draft.resolution == body["input"]["resolution"]
    assert draft.seed == (None if body["input"]["seed"] == -1 else 42)
    assert draft.inputs == {
        "image": Source(url="https://example.com/character.png"),
        "video": Source(url="https://example.com/motion.mp4"),
    }
    assert draft.dialect_data["route"] == "official"
    model, rendered = apixo.render_create(draft)
    assert model == "wan-2-2-animate"
    # the first example names a callback although it asks to be polled; we name it only when it is used
    assert without(rendered, "request_type", "callback_url") == without(body, "request_type", "callback_url")


def test_crun_create_body_is_understood_and_rendered_again() -> None:
    (body,) = answers("crun", "model", "input")
    draft = crun.parse_create(body)
    assert (draft.task, draft.resolution) == ("replace", "720p")
    assert draft.webhook_url == "https://your-domain.com/api/callback"
    assert crun.render_create(draft) == body


def test_wiro_run_body_is_understood_and_rendered_again() -> None:
    (body,) = answers("wiro", "inputImageUrl")
    draft = wiro.parse_create("Wan-AI/Wan2.2-I2V-A14B", body)
    assert draft == Draft(
        prompt=body["prompt"],
        model="wan2.2-i2v-a14b",
        task="i2v",
        negative_prompt=body["negativePrompt"],
        resolution="480p",
        aspect=None,
        frames=81,
        guidance=5.0,
        steps=25,
        fps=16,
        seed=42,
        # a file name, not an address: uploaded before; the sentence about callbacks is no address either
        inputs={"image": Source(upload="wan_2_2_input.jpg")},
        webhook_url=None,
        dialect="wiro",
        dialect_data=draft.dialect_data,
        field_names=draft.field_names,
    )
    _, rendered = wiro.render_create(draft)
    assert rendered == without(body, "inputImageUrl", "aspectRatio", "callbackUrl")


# --- answers to creation
@pytest.mark.parametrize("body", answers("kie", "code", "msg"), ids=lambda b: b["data"]["taskId"])
def test_kie_created(body: dict[str, Any]) -> None:
    rendered = kie.render_created(kie.parse_created(body))
    assert without(rendered, "message") == body
    assert rendered["message"] == rendered["msg"]


def test_apixo_created() -> None:
    body = next(a for a in answers("apixo", "code") if "state" not in a["data"])
    assert apixo.render_created(apixo.parse_created(body)) == body


def test_crun_created() -> None:
    (body,) = answers("crun", "code")
    assert crun.render_created(crun.parse_created(body)) == body


def test_wiro_created() -> None:
    (body,) = answers("wiro", "taskid", "result")
    assert wiro.render_created(*wiro.parse_created(body)) == body
    assert list(wiro.render_created(*wiro.parse_created(body))) == list(body)


# --- tasks
def test_kie_record_byte_for_byte() -> None:
    (body,) = answers("kie", "code", "message")
    report = kie.parse_status(body)
    assert report.state is State.SUCCEEDED
    assert report.urls == ("https://example.com/generated-video.mp4",)
    # the document's `param` is cut short with "...": no JSON, kept as it came
    assert json.dumps(without(kie.render_status(report), "msg")) == json.dumps(body)
    assert list(kie.render_status(report)["data"]) == list(body["data"])


def test_apixo_status_byte_for_byte() -> None:
    body = next(a for a in answers("apixo", "code") if "state" in a["data"])
    report = apixo.parse_status(body)
    assert (report.created_ms, report.finished_ms) == (1767965610929, 1767965652317)
    assert json.dumps(apixo.render_status(report)) == json.dumps(body)


def test_wiro_detail_says_what_the_document_says() -> None:
    (body,) = answers("wiro", "total")
    report = wiro_task.parse_status(body)
    assert (report.id, report.handle) == ("2221", "eDcCm5yyUfIvMFspTwww49OUfgXkQt")
    assert report.state is State.SUCCEEDED, "the sample has no pexit; its outputs say that it went well"
    assert report.outputs[0] == Output(
        url=body["tasklist"][0]["outputs"][0]["url"],
        name="0.png",
        content_type="image/png",
        size=202472,
        id="6bc392c93856dfce3a7d1b4261e15af3",
    )
    rendered = wiro_task.render_status(report)
    documented, ours = body["tasklist"][0], rendered["tasklist"][0]
    assert shape(without(rendered, "tasklist")) == shape(without(body, "tasklist"))
    # the exit code, the cost and the model are in the provider's other documents; its clients decide by the first
    others = ("pexit", "cps", "totalcost", "modelslugowner", "modelslugproject")
    assert shape(without(ours, *others)) == shape(documented)
    assert (ours["pexit"], ours["totalcost"]) == ("0", "0")
    # what a report carries comes back letter for letter; its own folder ids and finer clocks stay wiro's
    same = [
        "id",
        "socketaccesstoken",
        "parameters",
        "starttime",
        "endtime",
        "status",
        "createtime",
        "canceltime",
        "size",
    ]
    assert {k: ours[k] for k in same} == {k: documented[k] for k in same}
    same = ["id", "name", "contenttype", "size", "url"]
    assert {k: ours["outputs"][0][k] for k in same} == {k: documented["outputs"][0][k] for k in same}


@pytest.mark.parametrize("body", [a for a in answers("wiro", "tasklist") if "total" not in a], ids=["kill", "cancel"])
def test_wiro_stopped_tasks_have_every_documented_key(body: dict[str, Any]) -> None:
    report = wiro_task.parse_status(body)
    assert report.state is State.CANCELLED
    rendered = wiro_task.render_stopped(report)
    assert shape(rendered) == shape(body)
    assert list(rendered["tasklist"][0]) == list(body["tasklist"][0]), "also in the document's order"
    assert rendered["tasklist"][0]["status"] == "task_cancel"


def test_wiro_statuses_are_the_documents_in_its_order() -> None:
    text = seed_texts.text("wiro")
    words = (
        "task_postprocess_end",
        "task_cancel",
        "task_queue",
        "task_accept",
        "task_assign",
        "task_start",
        "task_preprocess_start",
        "task_preprocess_end",
        "task_output",
    )
    assert all(f"- {word} :" in text for word in words)
    assert set(words) <= {*wiro_task.ORDER, wiro_task.CANCELLED}


def test_crun_task_has_the_types_that_a_strict_client_checks() -> None:
    report = Report(
        id="019a0000-0000-7000-8000-000000000000",
        state=State.RUNNING,
        model="wan/2-2-animate-replace",
        request={"model": "wan/2-2-animate-replace", "input": {"img_urls": []}},
        created_ms=1_700_000_000_123,
        credits_micro=1_500_000,
    )
    open_task = crun.render_status(report)["data"]
    assert open_task == {
        "task_id": report.id,
        "provider": "wan",
        "model_version": "2-2-animate-replace",
        "status": "running",
        "param": {"model": "wan/2-2-animate-replace", "callback_url": None, "input": {"img_urls": []}},
        "create_at": 1_700_000_000,
        "complete_at": None,
        "duration_s": None,
        "source": "api",
        "credits": 1.5,
        "result": None,
    }
    done = dataclasses.replace(
        report, state=State.SUCCEEDED, finished_ms=1_700_000_060_000, outputs=(Output("https://x/v"),)
    )
    assert crun.render_callback(done) == open_task | {
        "status": "success",
        "complete_at": 1_700_000_060,
        "duration_s": 60,
        "result": {"code": 200, "message": "success", "media_urls": ["https://x/v"]},
    }
