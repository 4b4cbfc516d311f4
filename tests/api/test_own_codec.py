"""The farm's own JSON: strict, both directions, and what it says about a body that is wrong."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from farm.jobs.draft import Draft, Source
from farm.jobs.errors import InvalidRequest, RequestError
from farm.jobs.job import Artifacts, Job
from farm.jobs.spec import InputRef, JobSpec
from farm.jobs.states import State
from farm.wire import own
from farm.wire.own_views import JobView, Links, eta_s, view_job
from models.catalog import MAX_SEED

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
_MS = st.integers(0, 4_000_000_000_000)


def _maybe(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


_SOURCES = st.one_of(
    _TEXT.map(lambda t: Source(url=t)), _TEXT.map(lambda t: Source(base64=t)), _TEXT.map(lambda t: Source(upload=t))
)
_OPTIONS = st.one_of(_TEXT, st.booleans(), st.floats(0, 2), st.lists(st.integers(1, 40), max_size=2))
_LORAS = st.fixed_dictionaries(
    {"lora": _TEXT, "scale": st.floats(-10, 10), "expert": st.sampled_from(["both", "high", "low"])}
)
DRAFTS = st.builds(
    Draft,
    prompt=_TEXT,
    model=_maybe(_TEXT),
    task=_maybe(_TEXT),
    negative_prompt=_maybe(_TEXT),
    width=_maybe(st.integers(1, 65536)),
    height=_maybe(st.integers(1, 65536)),
    resolution=_maybe(st.sampled_from(["480p", "720p"])),
    aspect=_maybe(st.tuples(st.integers(1, 99_999), st.integers(1, 99_999)).map(lambda t: t[0] / t[1])),
    frames=_maybe(st.integers(1, 100_000)),
    seconds=_maybe(st.floats(0.001, 3600)),
    fps=_maybe(st.integers(1, 1000)),
    steps=_maybe(st.integers(1, 10_000)),
    guidance=_maybe(st.floats(0, 100)),
    guidance_2=_maybe(st.floats(0, 100)),
    shift=_maybe(st.floats(0, 100)),
    seed=_maybe(st.integers(0, MAX_SEED)),
    inputs=st.dictionaries(st.sampled_from(["image", "last_image"]), _SOURCES),
    loras=st.lists(_LORAS, max_size=3).map(tuple),
    options=st.dictionaries(_TEXT, _OPTIONS, max_size=4),
    priority=_maybe(st.integers(0, 9)),
    deadline_ms=_maybe(_MS),
    max_attempts=_maybe(st.integers(1, 10)),
    idempotency_key=_maybe(st.just("k")),
    name=_maybe(_TEXT),
    metadata=st.dictionaries(_TEXT, _TEXT, max_size=5),
    webhook_url=_maybe(_TEXT),
    label=_maybe(_TEXT),
    field_names=st.just(own.NAMES),
)


@given(DRAFTS)
def test_what_is_asked_is_what_is_read(draft: Draft) -> None:
    body = to_json(own.render_create(draft))
    assert own.parse_create(body, idempotency_key=draft.idempotency_key) == draft


def read(body: str) -> Draft:
    return own.parse_create(body.encode())


def test_a_picture_may_be_a_plain_string() -> None:
    draft = read('{"prompt": "p", "image": "HTTPS://example.com/a.png", "last_image": "data:image/png;base64,AAAA"}')
    assert draft.inputs["image"] == Source(url="HTTPS://example.com/a.png")
    assert draft.inputs["last_image"] == Source(base64="data:image/png;base64,AAAA")


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ("{}", "prompt", "required"),
        ('{"prompt": null}', "prompt", "string"),
        ('{"prompt": ""}', "prompt", "empty"),
        ('{"prompt": 5}', "prompt", "string"),
        ("[]", None, "object"),
        ("null", None, "object"),
        ('"prompt"', None, "object"),
        ('{"prompt": "p", "framse": 81}', "framse", "did you mean frames?"),
        ('{"prompt": "p", "x": {"y": 1}}', "x", "unknown field"),
        ('{"prompt": "p", "batch": "reel"}', "batch", "unknown field; a label of your own goes into `label`"),
        ('{"prompt": "p", "width": "832"}', "width", "integer"),
        ('{"prompt": "p", "width": 832.5}', "width", "integer"),
        ('{"prompt": "p", "width": true}', "width", "integer"),
        ('{"prompt": "p", "frames": [81]}', "frames", "integer"),
        ('{"prompt": "p", "seed": -2}', "seed", "at least -1"),
        ('{"prompt": "p", "seed": 9223372036854775808}', "seed", "at most"),
        ('{"prompt": "p", "guidance": NaN}', "guidance", "must be a number"),
        ('{"prompt": "p", "guidance": Infinity}', "guidance", "must be a number"),
        ('{"prompt": "p", "fps": 0}', "fps", "at least 1"),
        ('{"prompt": "p", "aspect_ratio": "wide"}', "aspect_ratio", "16:9"),
        ('{"prompt": "p", "aspect_ratio": "16:0"}', "aspect_ratio", "16:9"),
        ('{"prompt": "p", "deadline": "2026-01-01T00:00:00"}', "deadline", "with its zone"),
        ('{"prompt": "p", "deadline": 1}', "deadline", "with its zone"),
        ('{"prompt": "p", "metadata": {"a": 1}}', "metadata.a", "string"),
        ('{"prompt": "p", "image": "/etc/passwd"}', "image", "http(s) URL"),
        ('{"prompt": "p", "image": "file:///etc/passwd"}', "image", "http(s) URL"),
        ('{"prompt": "p", "image": {}}', "image", "exactly one"),
        ('{"prompt": "p", "image": {"url": "http://a", "base64": "AA"}}', "image", "exactly one"),
        ('{"prompt": "p", "image": {"uri": "http://a"}}', "image.uri", "unknown field"),
        ('{"prompt": "p", "image": 5}', "image", ""),
    ],
)
def test_a_wrong_field_is_named(body: str, field: str | None, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(body)
    assert refused.value.field == field
    assert says in refused.value.detail


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(own.InvalidBody) as refused:
        read('{"width": "a", "color": "red"}')
    assert [field for field, _ in refused.value.errors] == ["prompt", "width", "color"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"prompt": "\\ud800"}', b"[" * 10_000, b'{"a":' * 60_000])
def test_broken_json_is_a_400(body: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        own.parse_create(body)
    assert refused.value.http_status == 400


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_noise_is_refused_and_never_crashes(body: bytes) -> None:
    with pytest.raises(RequestError):
        own.parse_create(body)


@pytest.mark.parametrize("key", ["", "a" * 256, "ä", "a\nb"])
def test_a_bad_idempotency_key_is_named(key: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        own.parse_idempotency_key(key)
    assert refused.value.field == "Idempotency-Key"


# --- answers

SPEC = JobSpec(
    model="wan2.2-i2v-a14b",
    task="i2v",
    prompt="a fox",
    negative_prompt="",
    width=832,
    height=480,
    frames=81,
    fps=16,
    steps=40,
    guidance=3.5,
    guidance_2=3.5,
    shift=5.0,
    seed=7,
    inputs={"image": InputRef(sha256="ab" * 32, key="inputs/a/abab", content_type="image/png", width=832, height=480)},
)
JOB = Job(
    id="0198f000-0000-7000-8000-000000000000",
    tenant="a",
    state=State.RUNNING,
    spec=SPEC,
    pool="default",
    lane="l",
    priority=5,
    deadline_ms=None,
    predicted_s=12.5,
    wall_s=1800,
    max_attempts=3,
    created_ms=1_771_686_081_000,
    queued_ms=1_771_686_081_250,
    started_ms=1_771_686_082_000,
    finished_ms=None,
    not_before_ms=None,
    lease_until_ms=None,
    attempt=1,
    attempts_used=1,
    worker_losses=0,
    worker="w",
    phase="denoising",
    progress=0.45,
    step=20,
    steps=40,
    cancelling=False,
    error_code=None,
    error_message=None,
    artifacts=None,
    hold=None,
    charged=None,
    dialect="farm",
    dialect_data={},
    name=None,
    metadata={"shot": "12"},
    webhook_url=None,
    label="reel",
    phase_ms=1_771_686_090_000,
)
FILES = Artifacts("v", "p", "r", 1234, "cd" * 32, 832, 480, 81, 16.0, 5.0625)


def test_a_job_reads_as_it_was_written() -> None:
    links = Links("http://v", "http://p", "http://r", datetime(2026, 2, 21, 16, tzinfo=UTC))
    for job in (JOB, replace(JOB, state=State.SUCCEEDED, artifacts=FILES, finished_ms=1_771_686_099_000)):
        view = view_job(job, eta_s=3.5, links=links)
        text = view.model_dump_json()
        assert JobView.model_validate_json(text) == view
        assert '"created_at":"2026-02-21T15:01:21Z"' in text
        # nothing of how the farm keeps it: keys, tenants, workers
        assert not {"inputs/a", "tenant", "worker"} & set(text.replace('"', " ").split())


def test_only_a_success_has_a_result_and_only_a_failure_an_error() -> None:
    links = Links("v", "p", "r", datetime.now(UTC))
    done = view_job(replace(JOB, state=State.SUCCEEDED, artifacts=FILES), links=links)
    assert done.result is not None
    assert done.result.sha256 == FILES.sha256
    assert (done.error, done.phase, done.progress) == (None, None, 1.0)
    retried = replace(JOB, error_code="engine_died", error_message="it died")
    assert view_job(retried).error is None
    failed = view_job(replace(retried, state=State.FAILED)).error
    assert failed is not None
    assert (failed.code, failed.message) == ("engine_died", "it died")
    cancelled = view_job(replace(JOB, state=State.CANCELLED, cancelling=True))
    assert (cancelled.result, cancelled.error, cancelled.cancelling) == (None, None, False)


def test_the_time_left_is_told_only_when_it_was_measured() -> None:
    at = JOB.phase_ms or 0
    # 20 of 40 steps took 10 s: 10 s for the rest, and the decoding that `progress` knows of
    job = replace(JOB, read_ms=at + 10_000)
    assert eta_s(job) == 12.2
    assert eta_s(replace(job, progress=0.9)) == 10.0
    for unknown in (
        replace(job, step=1),
        replace(job, phase="loading"),
        replace(job, phase_ms=None),
        replace(job, state=State.QUEUED),
        replace(job, step=0, steps=0),
    ):
        assert eta_s(unknown) is None
    assert eta_s(replace(JOB, read_ms=at - 5)) is None
