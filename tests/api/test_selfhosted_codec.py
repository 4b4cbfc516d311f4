"""The self-hosted dialect against its own document, byte for byte, and against itself."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.jobs.draft import Draft, Source
from farm.jobs.errors import (
    Conflict,
    FarmError,
    FaultCode,
    InvalidRequest,
    NotFound,
    TooMany,
    Unauthorized,
    Unavailable,
)
from farm.jobs.states import State
from farm.wire import selfhosted
from farm.wire.report import Fault, Output, Report
from tests.seed_texts import answers, curls, json_values, text

ID = "550e8400-e29b-41d4-a716-446655440000"


def examples(*keys: str) -> list[str]:
    """The document's JSON blocks as they are printed, those with all of `keys`."""
    blocks = re.findall(r"```json\n(.*?)\n```", text("selfhosted"), re.DOTALL)
    return [block for block in blocks if all(f'"{key}"' in block for key in keys)]


def printed(value: object) -> str:
    return json.dumps(value, indent=2)


def test_health_is_the_documents() -> None:
    (example,) = examples("model_loaded")
    assert printed(selfhosted.render_health(loaded=True, current_job=None)) == example
    assert selfhosted.parse_health(json.loads(example))
    assert not selfhosted.parse_health({"status": "ok", "model_loaded": False})


def test_created_is_the_documents() -> None:
    (example,) = examples("position")
    assert selfhosted.parse_created(json.loads(example)) == (ID, 0)
    assert printed(selfhosted.render_created(ID, 0)) == example


def test_status_is_the_documents() -> None:
    example = next(block for block in examples("video_url") if not block.startswith("["))
    report = selfhosted.parse_status(json.loads(example))
    assert (report.state, report.urls) == (State.SUCCEEDED, ("https://s3.amazonaws.com/...",))
    assert printed(selfhosted.render_status(report)) == example


def test_the_listing_is_the_documents() -> None:
    (example,) = examples("created_at")
    (report,) = selfhosted.parse_listing(json.loads(example))
    assert (report.prompt, report.created_ms) == ("A cat dancing on the moon", 1_771_686_081_000)
    assert printed(selfhosted.render_listing([report])) == example


def test_the_documents_requests_are_read_and_written() -> None:
    bodies = [v for v in json_values("selfhosted") if isinstance(v, dict) and "prompt" in v and "job_id" not in v]
    assert len(bodies) == 4  # three commands and a client program
    for body in bodies:
        draft = selfhosted.parse_create(body)
        assert draft.prompt == body["prompt"]
        assert selfhosted.render_create(draft) == body
    assert [sorted(selfhosted.parse_create(body).inputs) for body in bodies] == [[], ["image"], ["image"], []]
    assert len(curls("selfhosted")) == 6
    assert answers("selfhosted", "job_id")


def test_base64_wins_over_a_url() -> None:
    draft = selfhosted.parse_create({"prompt": "p", "image_url": "http://a/b.png", "image_base64": "AAAA"})
    assert draft.inputs == {"image": Source(base64="AAAA")}
    assert draft.field_names["image"] == "image_base64"


@pytest.mark.parametrize("body", [{}, {"prompt": ""}, {"prompt": "  "}, {"prompt": None}])
def test_a_prompt_is_required(body: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        selfhosted.parse_create(body)
    assert selfhosted.render_error(refused.value).body == {"detail": "Prompt is required"}


def test_what_nobody_documents_is_ignored() -> None:
    draft = selfhosted.parse_create({"prompt": "p", "image_url": "", "image_base64": None, "audio": True})
    assert draft.inputs == {}


def test_another_shape_is_not_asked_of_such_a_server() -> None:
    fits = Draft(prompt="p", width=832, height=480, frames=81, fps=16)
    assert selfhosted.render_create(fits) == {"prompt": "p"}
    with pytest.raises(InvalidRequest):
        selfhosted.render_create(Draft(prompt="p", frames=49))


_WORDS = st.text(min_size=1, max_size=20).filter(str.strip)


@given(
    st.builds(
        Draft,
        prompt=_WORDS,
        inputs=st.just({})
        | st.fixed_dictionaries(
            {"image": st.builds(Source, url=st.just("http://a/b")) | st.builds(Source, base64=_WORDS)}
        ),
    )
)
def test_what_is_asked_is_what_is_read(draft: Draft) -> None:
    read = selfhosted.parse_create(selfhosted.render_create(draft))
    assert (read.prompt, read.inputs) == (draft.prompt, draft.inputs)


_CREATED = st.integers(0, 4_000_000_000_000)
_REPORTS = st.one_of(
    st.builds(
        Report, id=_WORDS, state=st.sampled_from([State.QUEUED, State.RUNNING]), prompt=_WORDS, created_ms=_CREATED
    ),
    st.builds(
        Report,
        id=_WORDS,
        state=st.just(State.SUCCEEDED),
        outputs=_WORDS.map(lambda url: (Output(url=url),)),
        prompt=_WORDS,
        created_ms=_CREATED,
    ),
    st.builds(
        Report,
        id=_WORDS,
        state=st.just(State.FAILED),
        fault=st.builds(Fault, code=st.just(FaultCode.PROVIDER_FAILED), message=_WORDS),
        prompt=_WORDS,
        created_ms=_CREATED,
    ),
)


@given(st.lists(_REPORTS, max_size=4))
def test_what_is_told_is_what_is_understood(reports: list[Report]) -> None:
    assert selfhosted.parse_listing(selfhosted.render_listing(reports)) == reports


def test_a_cancelled_job_reads_as_failed_and_is_known_again() -> None:
    told = selfhosted.render_status(Report(id=ID, state=State.CANCELLED))
    assert told["status"] == "failed"
    assert told["error"]
    assert selfhosted.parse_status(told).state is State.CANCELLED


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("unknown", "model"), 400),
        (Unauthorized("no"), 401),
        (NotFound("Job not found"), 404),
        (Conflict("no"), 409),
        (TooMany("slow down", retry_after_s=2.5), 429),
        (Unavailable("away"), 503),
    ],
)
def test_errors_are_told_and_understood(error: FarmError, status: int) -> None:
    reply = selfhosted.render_error(error)
    assert reply.status == status
    assert list(reply.body) == ["detail"]
    understood = selfhosted.parse_error(reply.status, reply.body, reply.headers)
    assert type(understood) is type(error)


def test_a_bug_tells_nothing() -> None:
    assert selfhosted.render_error(ValueError("secret")).body == {"detail": "Internal server error"}


def test_fastapis_own_errors_are_understood() -> None:
    raw = {"detail": [{"type": "missing", "loc": ["header", "x-api-key"], "msg": "Field required"}]}
    assert isinstance(selfhosted.parse_error(422, raw), InvalidRequest)


@pytest.mark.parametrize(
    ("status", "limit", "states", "count"),
    [
        (None, None, set(State), 100),
        ("", "", set(State), 100),
        ("queued", "5", {State.WAITING, State.QUEUED}, 5),
        ("failed", None, {State.FAILED, State.CANCELLED}, 100),
        ("unheard-of", None, set(), 100),
    ],
)
def test_the_filters_of_the_listing(status: str | None, limit: str | None, states: set[State], count: int) -> None:
    assert selfhosted.parse_query(status, limit) == (states, count)


@pytest.mark.parametrize("limit", ["-1", "1.5", "ten", "٣", "9" * 30])
def test_a_limit_that_is_no_number_is_refused(limit: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        selfhosted.parse_query(None, limit)
    assert refused.value.field == "limit"
