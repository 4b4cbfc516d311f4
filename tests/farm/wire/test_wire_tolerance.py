"""What real clients send, and what a hostile one might: tolerated or refused by name, never a crash."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.jobs.draft import Draft
from farm.jobs.errors import FarmError, InvalidRequest, ModelUnavailable, NotFound
from farm.jobs.states import TERMINAL, State
from farm.wire import apixo, crun, kie, model_ids, openai, selfhosted, wiro, wiro_auth, wiro_task
from farm.wire.report import Report
from farm.wire.words import parse_object

DIALECTS = [apixo, crun, kie, openai, selfhosted]
KIE_T2V = "wan/2-2-a14b-text-to-video-turbo"


def test_kie_reads_strings_blanks_odd_case_and_fields_it_does_not_know() -> None:
    draft = kie.parse_create(
        {
            "model": KIE_T2V.upper(),
            "callBackUrl": "",
            "replyUrl": "x",
            "captchaToken": None,
            "input": '{"prompt": "a cat", "seed": "", "resolution": " 720P", "ratio": "9:16", "duration": "5",'
            ' "num_frames": "81.0", "mask_url": "", "nsfw_checker": "false", "image_url": "   "}',
        }
    )
    assert (draft.prompt, draft.seed, draft.resolution, draft.seconds, draft.frames) == ("a cat", None, "720p", 5.0, 81)
    assert draft.aspect == 9 / 16
    assert draft.webhook_url is None
    assert draft.inputs == {}
    assert draft.dialect_data["model"] == KIE_T2V


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "model"),
        ({"model": 5}, "model"),
        ({"model": KIE_T2V, "input": "no object"}, "input"),
        ({"model": KIE_T2V, "input": {"seed": "many"}}, "input.seed"),
        ({"model": KIE_T2V, "input": {"seed": 1.5}}, "input.seed"),
        ({"model": KIE_T2V, "input": {"seed": "--5"}}, "input.seed"),
        ({"model": KIE_T2V, "input": {"seed": 10**30}}, "input.seed"),
        ({"model": KIE_T2V, "input": {"duration": "1e400"}}, "input.duration"),
        ({"model": KIE_T2V, "input": {"prompt": ["a"]}}, "input.prompt"),
        ({"model": KIE_T2V, "input": {"image_url": "file:///etc/passwd"}}, "input.image_url"),
        ({"model": KIE_T2V, "input": {"image_url": "http://[::1"}}, "input.image_url"),
        ({"model": KIE_T2V, "input": {"aspect_ratio": "16:0"}}, "input.aspect_ratio"),
    ],
)
def test_kie_names_the_field_that_is_wrong(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kie.parse_create(body)
    assert caught.value.field == field


def test_ids_that_a_dialect_does_not_have() -> None:
    with pytest.raises(ModelUnavailable):
        kie.parse_create({"model": "veo/3", "input": {}})
    with pytest.raises(NotFound):
        apixo.parse_create("veo-3", {"input": {}})
    with pytest.raises(ModelUnavailable):
        crun.parse_create({"model": "google/veo3", "input": {}})
    with pytest.raises(NotFound, match="slug-owner-project-not-exist"):
        wiro.parse_create("google/veo3", {})


@pytest.mark.parametrize("dialect", ["kie", "apixo", "crun", "wiro"])
def test_model_ids_are_found_in_any_spelling(dialect: str) -> None:
    for known, meaning in model_ids.TABLE[dialect].items():
        assert model_ids.meaning(dialect, known.swapcase()) == meaning
        assert model_ids.canonical(dialect, known.lower()) == known
    assert model_ids.meaning("wiro", "alibaba/wan-2-6") == model_ids.meaning("wiro", "alibaba/wan 2.6")


def test_apixo_rules() -> None:
    good = {"input": {"type": "Animate", "image_urls": "https://x/i.png", "video_urls": '["https://x/v.mp4"]'}}
    draft = apixo.parse_create("WAN-2-2-ANIMATE", good)
    assert (draft.task, draft.inputs["video"].url, draft.dialect_data["route"]) == (
        "animate",
        "https://x/v.mp4",
        "auto",
    )
    for change, field in (
        ({"request_type": "callback"}, "callback_url"),
        ({"provider": "cheap"}, "provider"),
        ({"input": good["input"] | {"resolution": "580p"}}, "input.resolution"),
        ({"input": good["input"] | {"image_urls": ["https://x/1", "https://x/2"]}}, "input.image_urls"),
        ({"input": good["input"] | {"video_urls": []}}, "input.video_urls"),
        ({"input": good["input"] | {"type": "dance"}}, "input.type"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            apixo.parse_create("wan-2-2-animate", good | change)
        assert caught.value.field == field
    reply = apixo.render_error(caught.value)
    assert (reply.status, reply.body["code"], reply.body["message"]) == (400, 400, "Invalid request")


def test_wiro_reads_text_in_place_of_everything() -> None:
    draft = wiro.parse_create(
        "wan-ai/wan2-2-i2v-a14b",
        {"inputImageUrl": "", "inputImage": "https://x/a.png,https://x/b.png", "prompt": "p", "seed": "",
         "scale": "5.0", "steps": "4", "numFrames": "17", "fps": 16.0, "resolution": "480p", "aspectRatio": "Default"},
    )  # fmt: skip
    assert (draft.seed, draft.guidance, draft.steps, draft.frames, draft.fps) == (None, 5.0, 4, 17, 16)
    assert draft.inputs["image"].url == "https://x/a.png"
    with pytest.raises(InvalidRequest) as caught:
        wiro.parse_create("Wan-AI/Wan2.2-I2V-A14B", {"prompt": "p"})
    assert wiro.render_error(caught.value).body["errors"] == [
        {"code": 0, "message": "Request parameter [inputImageUrl] required"}
    ]


@pytest.mark.parametrize("name", ["lora", "loras", "loraUrl", "lora_weights"])
def test_a_lora_that_a_dialect_has_no_word_for_is_refused_rather_than_left_out(name: str) -> None:
    asked = {"prompt": "p", "image_url": "https://x/i.png", "image_urls": ["https://x/i.png"], name: ["https://x/l"]}
    asked |= {"video_urls": ["https://x/v.mp4"], "type": "animate", "inputImageUrl": "https://x/i.png"}
    bodies: list[tuple[Any, tuple[Any, ...]]] = [
        (kie, ({"model": KIE_T2V, "input": asked},)),
        (apixo, ("wan-2-2-animate", {"input": asked})),
        (crun, ({"model": next(iter(model_ids.TABLE["crun"])), "input": asked},)),
        (wiro, ("wan-ai/wan2-2-i2v-a14b", asked)),
        (selfhosted, (asked,)),
    ]
    for dialect, args in bodies:
        with pytest.raises(InvalidRequest, match="no word for LoRAs") as caught:
            dialect.parse_create(*args)
        assert str(caught.value.field).endswith(name)
        # nothing asked, nothing refused
        dialect.parse_create(*args[:-1], json.loads(json.dumps(args[-1]).replace('["https://x/l"]', '""')))
        draft = Draft("p", model="wan2.2-animate-14b", task="animate", loras=({"lora": "x"},))
        with pytest.raises(InvalidRequest, match="takes no LoRAs"):
            dialect.render_create(draft)


def test_openai_reads_the_farms_own_words_for_loras() -> None:
    for asked, read in (
        ("fox", [("fox", 1.0, "both")]),
        ('["fox", {"lora": "ink", "scale": "0.5", "expert": "low"}]', [("fox", 1.0, "both"), ("ink", 0.5, "low")]),
        ([], []),
    ):
        draft = openai.parse_create({"prompt": "p", "loras": asked})
        assert [tuple(lora.values()) for lora in draft.loras] == read
    for bad, field in (([{"lora": "fox", "weight": 1}], "loras.0.weight"), ([{"scale": "much"}], "loras.0.scale")):
        with pytest.raises(InvalidRequest) as caught:
            openai.parse_create({"prompt": "p", "loras": bad})
        assert caught.value.field == field


def test_wiro_tells_json_from_multipart_by_the_bytes() -> None:
    assert wiro_auth.is_json("multipart/form-data", b'{"taskid": "1"}')
    assert wiro_auth.is_json("multipart/form-data; boundary=x", b' {"taskid": "1"}')
    assert wiro_auth.is_json("application/json", b"junk")
    assert not wiro_auth.is_json("multipart/form-data; boundary=x", b"--x\r\n")


def test_wiro_signature_vector_and_openssl_prefix() -> None:
    good = "0b24de56ee7193f6270ed0b6be12a1e97ddb91f0f1920f3db26ba3bfe19d93d4"
    assert wiro_auth.sign("test-api-key", "test-secret", "1734513807") == good
    for written in (good, good.upper(), f"SHA2-256(stdin)= {good}", f"(stdin)= {good}"):
        assert wiro_auth.verify("test-api-key", "test-secret", "1734513807", written)
    for wrong in ("", good[:-1], f"{good} x", "ü", "SHA2-256(stdin)="):
        assert not wiro_auth.verify("test-api-key", "test-secret", "1734513807", wrong)


def test_kie_signature_vector() -> None:
    headers = kie.sign("secret", "task_123", 1760000000)
    assert headers["X-Webhook-Signature"] == "Br81GVXZMiBwxewzmxMXtJtGONcGt5ocZjcQVqF/aKs="
    assert kie.verify("secret", "task_123", headers, 1760000100.0)
    assert not kie.verify("secret", "task_124", headers, 1760000100.0)
    assert not kie.verify("other", "task_123", headers, 1760000100.0)
    assert not kie.verify("secret", "task_123", headers, 1760009999.0), "too old"


def test_what_providers_say_in_other_ways() -> None:
    failed = kie.parse_status({"code": 501, "msg": "Playground task failed.", "data": {"taskId": "t", "state": "fail",
                               "failCode": None, "failMsg": "boom", "resultJson": None}})  # fmt: skip
    assert (failed.state, failed.fault and failed.fault.message) == (State.FAILED, "boom")
    double = kie.parse_status({"code": 200, "data": {"taskId": "t", "state": "thinking", "param": '{"input":"{}"}'}})
    assert double.state is State.RUNNING, "a word that nobody documented means not over yet"
    with pytest.raises(NotFound):
        kie.parse_status({"code": 422, "msg": "recordInfo is null", "data": None})
    with pytest.raises(NotFound):
        crun.parse_status({"code": 404, "message": "Task not found", "data": None})
    assert crun.parse_callback({"data": {"task_id": "t", "status": "running"}}).state is State.RUNNING
    with pytest.raises(NotFound):
        wiro_task.parse_status({"result": True, "errors": [], "tasklist": [], "total": "0"})
    died = wiro_task.parse_status({"tasklist": [{"id": "1", "status": "task_error", "debugerror": "no GPU"}]})
    assert (died.state, died.fault and died.fault.message) == (State.FAILED, "no GPU")


KEYS = ["model", "input", "code", "data", "taskId", "task_id", "state", "status", "resultJson", "failCode", "param"]
KEYS += ["prompt", "seed", "image_url", "img_urls", "image_urls", "video_urls", "type", "tasklist", "id", "outputs"]
KEYS += ["error", "errors", "size", "seconds", "duration", "aspect_ratio", "callback_url", "progress", "createTime"]
KEYS += ["created_at", "result", "totalcost", "createtime", "credits"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("success"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(json_values)
@settings(max_examples=300)
def test_no_answer_or_request_breaks_a_codec(value: Any) -> None:
    """Anything is read or refused with one of the farm's errors."""
    body = value if isinstance(value, dict) else {"data": value, "input": value, "tasklist": value}
    kie_models = {"model": KIE_T2V, **{k: v for k, v in body.items() if k != "model"}}
    for call in (
        lambda: kie.parse_create(body), lambda: kie.parse_create(kie_models), lambda: kie.parse_status(value),
        lambda: kie.parse_created(value), lambda: kie.parse_error(500, value), lambda: kie.parse_balance(value),
        lambda: apixo.parse_create("wan-2-5-video", body), lambda: apixo.parse_status(value),
        lambda: apixo.parse_created(value), lambda: apixo.parse_error(404, value),
        lambda: crun.parse_create(kie_models | {"model": "wan/2-7-t2v"}), lambda: crun.parse_callback(value),
        lambda: crun.parse_created(value), lambda: crun.parse_error(422, value), lambda: crun.parse_estimate(value),
        lambda: wiro.parse_create("alibaba/wan 2.6", body), lambda: wiro_task.parse_status(value),
        lambda: wiro.parse_created(value), lambda: wiro.parse_error(200, value),
        lambda: openai.parse_create(body), lambda: openai.parse_status(value), lambda: openai.parse_error(404, value),
    ):  # fmt: skip
        with contextlib.suppress(FarmError):
            call()


REFUSED = (b"", b"  ", b"[1]", b"nope", b"\xff\xfe", b'{"a": NaN}', b'{"a": "\\ud800"}', b"[" * 99_999,
           b'{"a": ' + b"1" * 9999 + b"}")  # fmt: skip


@pytest.mark.parametrize("data", REFUSED, ids=range(len(REFUSED)))
def test_bodies_that_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_object(data)


@pytest.mark.parametrize("codec", DIALECTS)
@pytest.mark.parametrize("state", State)
def test_a_state_that_a_dialect_does_not_list_has_a_word(
    codec: Any, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {**codec._WORDS}
    fallback = listed[State.FAILED if state in TERMINAL else State.QUEUED]
    if state not in (State.QUEUED, State.FAILED):
        monkeypatch.delitem(codec._WORDS, state)
    said = json.dumps(codec.render_status(Report(id="1", state=state, model="m", created_ms=1)))
    assert f'"{fallback}"' in said
