"""parse(render(x)) == x for every codec, over what its dialect has words for."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.jobs.draft import Draft, Source
from farm.jobs.errors import (
    FarmError,
    Forbidden,
    InvalidRequest,
    ModelUnavailable,
    NotFound,
    PaymentRequired,
    TooMany,
    Unauthorized,
    Unavailable,
)
from farm.jobs.errors import FaultCode as F
from farm.jobs.ids import new_job_id
from farm.jobs.states import Phase, State
from farm.wire import apixo, crun, kie, model_ids, openai, task_ids, wiro, wiro_auth, wiro_socket, wiro_task
from farm.wire.answers import RATIOS
from farm.wire.report import Fault, Output, Report

lean = settings(max_examples=60)

words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30).filter(lambda t: t.strip())
urls = st.builds(
    "https://{}.example.com/{}".format, st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.integers(0, 10**9)
)
seeds = st.none() | st.integers(0, 2**31 - 1)
counts = st.none() | st.integers(1, 500)
numbers = st.none() | st.floats(0.5, 20, width=32).map(lambda v: round(v, 3))
whole_s = st.integers(1, 4 * 10**9).map(lambda s: s * 1000)
ids = st.builds(new_job_id)
worn = st.lists(
    st.fixed_dictionaries(
        {"lora": words, "scale": st.floats(-10, 10), "expert": st.sampled_from(["both", "high", "low"])}
    ),
    max_size=2,
).map(tuple)


def sources(*roles: str) -> st.SearchStrategy[dict[str, Source]]:
    return st.dictionaries(st.sampled_from(roles), st.builds(Source, url=urls), max_size=len(roles))


def models(dialect: str) -> st.SearchStrategy[model_ids.Meaning]:
    """What the dialect's ids mean, where the way back is the same id."""
    return st.sampled_from(list(model_ids.TABLE[dialect].values()))


@st.composite
def drafts(draw: st.DrawFn, dialect: str, **fields: st.SearchStrategy[Any]) -> Draft:
    meaning = draw(models(dialect))
    given = {"prompt": st.none() | words, "webhook_url": st.none() | urls} | fields
    return Draft(model=meaning.model, task=meaning.task, **{k: draw(v) for k, v in given.items()})


def core(draft: Draft) -> Draft:
    """Without what the codec adds for the way back: who asked, and how."""
    return dataclasses.replace(draft, dialect="", dialect_data={}, field_names={})


def wire(value: Any) -> Any:
    """As it arrives: through JSON."""
    return json.loads(json.dumps(value))


shape = {
    "resolution": st.sampled_from([None, "480p", "720p"]),
    "aspect": st.none() | st.sampled_from(list(RATIOS.values())),
}


# to kie, seed 0 is no seed
@given(drafts("kie", **shape, negative_prompt=st.none() | words, seed=seeds.filter(lambda seed: seed != 0),
              frames=counts, fps=counts, steps=counts,
              guidance=numbers, shift=numbers, seconds=numbers,
              inputs=sources("image", "video", "audio", "last_image")))  # fmt: skip
@lean
def test_kie_create(draft: Draft) -> None:
    assert core(kie.parse_create(wire(kie.render_create(draft)))) == core(draft)


@st.composite
def apixo_drafts(draw: st.DrawFn) -> Draft:
    task = draw(st.sampled_from(["animate", "replace", "t2v", "i2v"]))
    animate = task in ("animate", "replace")
    inputs = (
        {role: Source(url=draw(urls)) for role in ("image", "video")} if animate else draw(sources("image", "audio"))
    )
    return Draft(
        prompt=draw(st.none() | words),
        model=model_ids.ANIMATE if animate else draw(st.sampled_from(["wan2.5", "wan2.7"])),
        task=task,
        resolution=draw(shape["resolution"]),
        aspect=None if animate else draw(shape["aspect"]),
        seconds=draw(numbers),
        seed=draw(seeds),
        negative_prompt=draw(st.none() | words),
        inputs=inputs,
        webhook_url=draw(st.none() | urls),
    )


@given(apixo_drafts())
@lean
def test_apixo_create(draft: Draft) -> None:
    model, body = apixo.render_create(draft)
    assert core(apixo.parse_create(model, wire(body))) == core(draft)


@given(drafts("crun", **shape, negative_prompt=st.none() | words, seed=seeds, seconds=numbers,
              inputs=sources("image", "video", "audio")))  # fmt: skip
@lean
def test_crun_create(draft: Draft) -> None:
    assert core(crun.parse_create(wire(crun.render_create(draft)))) == core(draft)


@given(drafts("wiro", **shape, negative_prompt=st.none() | words, seed=seeds, frames=counts, fps=counts, steps=counts,
              guidance=numbers, shift=numbers, seconds=numbers,
              inputs=sources("video", "audio", "last_image").flatmap(
                  lambda more: urls.map(lambda url: {"image": Source(url=url), **more}))))  # fmt: skip
@lean
def test_wiro_create(draft: Draft) -> None:
    model, body = wiro.render_create(draft)
    assert core(wiro.parse_create(model, wire(body))) == core(draft)


@given(st.builds(Draft, prompt=words, model=st.none() | st.just("wan2.2-t2v-a14b"),
                 width=st.just(832), height=st.just(480), seconds=numbers,
                 frames=counts, fps=counts, steps=counts, guidance=numbers, seed=seeds,
                 negative_prompt=st.none() | words, inputs=sources("image"), loras=worn))  # fmt: skip
@lean
def test_openai_create(draft: Draft) -> None:
    assert core(openai.parse_create(wire(openai.render_create(draft)))) == core(draft)


# --- tasks
outputs = st.lists(st.builds(Output, url=urls), min_size=1, max_size=3).map(tuple)


@st.composite
def reports(draw: st.DrawFn, dialect: str, codes: list[F], *, cancel_code: bool = True, **fields: Any) -> Report:
    state = draw(st.sampled_from([State.QUEUED, State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED]))
    code = F.CANCELLED if state is State.CANCELLED else draw(st.sampled_from(codes))
    over = state in (State.SUCCEEDED, State.FAILED, State.CANCELLED)
    given = {
        "id": task_ids.task_id(dialect, draw(ids)),
        "state": state,
        "outputs": draw(outputs) if state is State.SUCCEEDED else (),
        "fault": Fault(code, draw(words)) if state in (State.FAILED, State.CANCELLED) else None,
        "created_ms": draw(whole_s),
        "finished_ms": draw(whole_s) if over else None,
    }
    return Report(**(given | {k: draw(v) for k, v in fields.items()}))


requests = st.fixed_dictionaries({"model": words, "input": st.dictionaries(words, words | st.integers(), max_size=3)})
numbered = [F.INVALID_INPUT, F.INPUT_UNREACHABLE, F.INPUT_REFUSED, F.DOES_NOT_FIT, F.PROVENANCE_REQUIRED, F.TOO_LONG,
            F.DEADLINE_PASSED, F.PROVIDER_FAILED]  # fmt: skip


@given(reports("kie", numbered, model=words, request=requests, updated_ms=whole_s))
@lean
def test_kie_record(report: Report) -> None:
    assert kie.parse_status(wire(kie.render_status(report))) == report


@given(reports("kie", numbered, model=words, request=requests, updated_ms=whole_s,
               credits_micro=st.integers(0, 10**12), credits_left_micro=st.integers(0, 10**12)))  # fmt: skip
@lean
def test_kie_callback(report: Report) -> None:
    over = dataclasses.replace(report, state=State.FAILED, fault=Fault(F.PROVIDER_FAILED, "no"), outputs=())
    sent = report if report.state in (State.SUCCEEDED, State.FAILED, State.CANCELLED) else over
    assert kie.parse_callback(wire(kie.render_callback(sent))) == sent


@given(
    reports(
        "apixo", [F.INPUT_REFUSED, F.INPUT_UNREACHABLE, F.INVALID_INPUT, F.DOES_NOT_FIT, F.TOO_LONG, F.PROVIDER_FAILED]
    )
)
@lean
def test_apixo_status_and_callback(report: Report) -> None:
    assert apixo.parse_status(wire(apixo.render_status(report))) == report
    assert apixo.parse_callback(wire(apixo.render_callback(report))) == report


@given(reports("crun", numbered, model=st.just("wan/2-2-animate-move"), credits_micro=st.integers(0, 10**12),
               request=st.builds(lambda given: {"model": "wan/2-2-animate-move", "input": given},
                                 st.dictionaries(words, words, max_size=3))))  # fmt: skip
@lean
def test_crun_task_and_callback(report: Report) -> None:
    assert crun.parse_status(wire(crun.render_status(report))) == report
    assert crun.parse_callback(wire(crun.render_callback(report))) == report


wiro_phases = [None, *wiro_task._MEANINGS.values()]


@given(reports("wiro", list(F), handle=st.from_regex(r"[A-Za-z0-9]{30}", fullmatch=True), started_ms=whole_s,
               phase=st.sampled_from([p for p in wiro_phases if p]), step=st.integers(0, 1),
               request=st.dictionaries(words, words, max_size=3), credits_micro=st.integers(0, 10**12)))  # fmt: skip
@lean
def test_wiro_task_and_callback(report: Report) -> None:
    running = report.state is State.RUNNING
    told = dataclasses.replace(
        report,
        phase=report.phase if running else None,
        step=report.step if running and report.phase is Phase.DENOISING else 0,
        # only success is paid
        credits_micro=report.credits_micro if report.state is State.SUCCEEDED else 0,
        outputs=tuple(
            dataclasses.replace(o, name="v.mp4", content_type="video/mp4", size=7, id="a") for o in report.outputs
        ),
    )
    if told.fault and told.state is State.FAILED and told.fault.code is F.CANCELLED:
        told = dataclasses.replace(told, fault=Fault(F.STUCK, told.fault.message))
    for render, parse in (
        (wiro_task.render_status, wiro_task.parse_status),
        (wiro_task.render_stopped, wiro_task.parse_status),
        (wiro_task.render_callback, wiro_task.parse_callback),
    ):
        assert parse(wire(render(told))) == told


@given(reports("openai", [c for c in F if c is not F.CANCELLED], model=words, prompt=st.none() | words,
               size=st.just((832, 480)), seconds=st.floats(0.1, 20).map(lambda s: round(s, 3)),
               progress=st.integers(0, 100).map(lambda p: p / 100)))  # fmt: skip
@lean
def test_openai_video(report: Report) -> None:
    done = report.state is State.SUCCEEDED
    told = dataclasses.replace(
        report,
        progress=1.0 if done else report.progress,
        outputs=(Output(url=openai.content_path(report.id), content_type="video/mp4"),) if done else (),
    )
    assert openai.parse_status(wire(openai.render_status(told))) == told


# --- the rest
@pytest.mark.parametrize("dialect", ["kie", "apixo", "crun", "wiro", "openai"])
def test_task_ids_go_back_to_the_job_and_nothing_else_does(dialect: str) -> None:
    job = new_job_id()
    told = task_ids.task_id(dialect, job)
    assert task_ids.job_id(dialect, told) == job
    others = ["", "test", "task_wan_1765184995754", told + "000", "video_", "../../etc", "9" * 60, "²"]
    assert [task_ids.job_id(dialect, other) for other in others] == [None] * len(others)
    assert len(task_ids.task_id("crun", job)) == 36


@given(ids)
@lean
def test_tokens_go_back_to_job_and_tail(job: str) -> None:
    tail = task_ids.new_token_tail()
    token = task_ids.token(job, tail)
    assert len(token) == 30
    assert task_ids.split_token(token) == (job, tail)


ERRORS: dict[Any, list[type[FarmError]]] = {
    kie: [Unauthorized, PaymentRequired, NotFound, TooMany, Unavailable, ModelUnavailable, InvalidRequest],
    apixo: [Unauthorized, PaymentRequired, Forbidden, NotFound, TooMany, Unavailable, InvalidRequest],
    crun: [Unauthorized, PaymentRequired, Forbidden, NotFound, TooMany, Unavailable, ModelUnavailable, InvalidRequest],
    wiro: [Unauthorized, PaymentRequired, NotFound, TooMany, Unavailable, ModelUnavailable, InvalidRequest],
    openai: [
        Unauthorized,
        PaymentRequired,
        Forbidden,
        NotFound,
        TooMany,
        Unavailable,
        ModelUnavailable,
        InvalidRequest,
    ],
}


@pytest.mark.parametrize(("codec", "kind"), [(c, k) for c, kinds in ERRORS.items() for k in kinds],
                         ids=lambda v: v.__name__.rsplit(".", 1)[-1])  # fmt: skip
def test_errors_come_back_as_themselves(codec: Any, kind: Callable[..., FarmError]) -> None:
    waits = kind in (TooMany, Unavailable)
    error = kind("so it is", retry_after_s=7.0) if waits else kind("so it is")
    if codec is kie and kind is Unauthorized:
        error = kind(kie.NO_ACCESS)
    if codec is wiro and kind is ModelUnavailable:
        error = kind(wiro.NOT_OFFERED)
    reply = codec.render_error(error)
    assert codec.parse_error(reply.status, wire(reply.body), reply.headers) == error
    assert ("Retry-After" in reply.headers) is waits


@pytest.mark.parametrize("codec", list(ERRORS), ids=lambda c: c.__name__.rsplit(".", 1)[-1])
def test_a_bug_is_a_server_error_without_its_text(codec: Any) -> None:
    reply = codec.render_error(KeyError("/secret/path"))
    assert reply.status == 500
    assert "secret" not in json.dumps(reply.body)


def test_balances_and_estimates() -> None:
    for codec in (kie, apixo, crun):
        assert codec.parse_balance(wire(codec.render_balance(9_500_000))) == 9_500_000
    assert wire(kie.render_balance(100_000_000))["data"] == 100, "clients do int(data)"
    assert crun.parse_estimate(wire(crun.render_estimate(1_500_000))) == (1_500_000, False)


# --- wiro's socket
@given(st.sampled_from([p for p in Phase if p in wiro_task._PHASES]), st.integers(0, 40))
@lean
def test_wiro_frames_say_every_status_once_in_order(phase: Phase, step: int) -> None:
    report = Report(id="1", handle="t" * 30, state=State.RUNNING, phase=phase, step=step, steps=40)
    first = wiro_socket.frames(report, None)
    reached = wiro_task.status_word(report)
    assert [f["type"] for f in first] == list(wiro_task.ORDER[: wiro_task.ORDER.index(reached) + 1])
    done = dataclasses.replace(report, state=State.SUCCEEDED, outputs=(Output("https://x/v.mp4", size=1),))
    rest = wiro_socket.frames(done, reached)
    assert [f["type"] for f in (*first, *rest)] == list(wiro_task.ORDER)
    end = wiro_socket.parse_frame(json.dumps(rest[-1]))
    assert end is not None
    assert (end.state, end.urls) == (State.SUCCEEDED, ("https://x/v.mp4",))
    assert [f["type"] for f in wiro_socket.frames(done, None)] == ["task_postprocess_end"], "late: the end alone"
    # a retry starts over; nothing is said again
    assert wiro_socket.frames(dataclasses.replace(report, state=State.QUEUED), reached) == []


def test_wiro_progress_is_text_and_comes_back() -> None:
    report = Report(id="1", handle="t" * 30, state=State.RUNNING, phase=Phase.DENOISING, step=6, steps=10)
    (frame,) = wiro_socket.frames(report, "task_output")
    assert frame["message"] | {"percentage": "60", "stepCurrent": "6", "stepTotal": "10"} == frame["message"]
    assert all(isinstance(v, str) for v in frame["message"].values())
    parsed = wiro_socket.parse_frame(json.dumps(frame))
    assert parsed is not None
    assert (parsed.step, parsed.steps, parsed.progress) == (6, 10, 0.6)


def test_wiro_registration() -> None:
    assert wiro_socket.parse_registration(wiro_socket.render_registration("abc")) == "abc"
    for junk in ("", "{}", "[1]", '{"type":"task_info","tasktoken":5}', "null", b"\xff", "[" * 10_000):
        assert wiro_socket.parse_registration(junk) is None
        assert wiro_socket.parse_frame(junk) is None


def test_signed_headers_verify() -> None:
    headers = wiro_auth.headers("key", "secret")
    assert wiro_auth.verify("key", "secret", headers["x-nonce"], headers["x-signature"])
    assert not wiro_auth.verify("key", "other", headers["x-nonce"], headers["x-signature"])
