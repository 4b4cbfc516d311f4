"""The conformance suite of the outbound port: every dialect's client says an order whole, reads what its provider
answers, and tells nothing that a provider says as somebody's own fault."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.jobs import errors
from farm.jobs.errors import FaultCode, RequestError
from farm.jobs.spec import InputRef, JobSpec
from farm.jobs.states import State
from farm.wire import apixo, crun, kie, openai, selfhosted, wiro, wiro_catalog, wiro_task
from farm.wire.http import (
    Can,
    File,
    NotOffered,
    Outbound,
    Placed,
    ProviderAnswer,
    ProviderRefused,
    ProviderRequest,
    Unreadable,
    Why,
)
from farm.wire.outbound import CLIENTS, DialectClient
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Fault, Output, Report
from models.catalog import MODELS

KEY, SECRET, BASE = "the-key", "the-secret", "https://provider.example"
MADE_MS = 1_760_000_000_000


def spec(model: str, task: str, **changes: Any) -> JobSpec:
    """As submission settles a prompt and nothing else."""
    own = MODELS[model].defaults if model in MODELS else MODELS["wan2.2-t2v-a14b"].defaults
    base = JobSpec(
        model, task, "a fox", "", own.width, own.height, own.frames, own.fps, own.steps, own.guidance, own.guidance_2,
        own.shift, 7,
    )  # fmt: skip
    return replace(base, **changes)


PICTURE = InputRef(key="k", sha256="s", width=832, height=480)
IMAGE = {"image": "https://files.example/a.png"}
ANIMATED = PurchaseOrder(
    spec("wan2.2-animate-14b", "animate", inputs={"image": PICTURE, "video": PICTURE}, width=832, height=480),
    IMAGE | {"video": "https://files.example/a.mp4"},
)


PLACED = Placed("t-1")


@dataclass(frozen=True)
class Sold:
    """One dialect: an order that it takes, one that it does not, and its provider's answers by its own codec."""

    order: PurchaseOrder
    not_sold: PurchaseOrder
    created: Any
    status: Callable[[Report], Any]
    error: Callable[[Exception], Any]
    balance: Any = None
    placed: Placed = PLACED


def view(report: Report) -> Any:
    done = report.state is State.SUCCEEDED
    result = {
        "video_url": "https://files.example/v.mp4", "poster_url": "u", "recipe_url": "u", "width": 832, "height": 480,
        "frames": 81, "fps": 16.0, "seconds": 5.0625, "size": 9, "sha256": "s", "expires_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return {
        "id": report.id, "state": report.state, "steps": 20, "model": "m", "task": "t2v", "prompt": "a fox",
        "guidance": 4.0, "shift": 5.0, "seed": 7, "created_at": "2025-10-09T08:53:20Z",
        "result": result if done else None,
        "error": {"code": report.fault.code, "message": report.fault.message} if report.fault else None,
    }  # fmt: skip


def problem(error: Exception) -> Any:
    slug = getattr(error, "slug", "unavailable")
    return {"type": f"https://wanfarm.example/problems/{slug}", "detail": str(error), "status": 400}


TEXT = PurchaseOrder(spec("wan2.2-t2v-a14b", "t2v"), key="order-1", webhook_url="https://me.example/hook")
LARGE = replace(TEXT, spec=replace(TEXT.spec, width=1280, height=720))
TURBO = PurchaseOrder(spec("wan2.2-t2v-a14b-4step", "t2v"), webhook_url="https://me.example/hook")
I2V = PurchaseOrder(spec("wan2.2-i2v-a14b", "i2v", inputs={"image": PICTURE}, width=832, height=480), IMAGE)
SOLD: dict[str, Sold] = {
    "kie": Sold(TURBO, TEXT, kie.render_created("t-1"), kie.render_status, lambda e: kie.render_error(e).body,
                kie.render_balance(1_500_000)),
    "apixo": Sold(ANIMATED, TEXT, apixo.render_created("t-1"), apixo.render_status,
                  lambda e: apixo.render_error(e).body,
                  apixo.render_balance(1_500_000), Placed("t-1", model="wan-2-2-animate")),
    "crun": Sold(ANIMATED, TEXT, crun.render_created("t-1"), crun.render_status, lambda e: crun.render_error(e).body,
                 crun.render_balance(1_500_000)),
    "wiro": Sold(I2V, TEXT, wiro.render_created("t-1", "tok"), wiro_task.render_status,
                 lambda e: wiro.render_error(e).body, placed=Placed("t-1", "tok")),
    "openai": Sold(TEXT, replace(TEXT, spec=replace(TEXT.spec, shift=3.0)), openai.render_created(
        Report(id="t-1", state=State.QUEUED)), openai.render_status, lambda e: openai.render_error(e).body),
    "selfhosted": Sold(PurchaseOrder(spec("wan2.2-ti2v-5b", "t2v", width=832, height=480, frames=81, fps=16)),
                       LARGE, selfhosted.render_created("t-1", 0), selfhosted.render_status,
                       lambda e: selfhosted.render_error(e).body),
    "farm": Sold(TEXT, replace(TEXT, spec=replace(TEXT.spec, prompt="")), view(Report(id="t-1", state=State.QUEUED)),
                 view, problem, {"credit": {"balance": 2, "held": 0.5, "available": 1.5}, "data": []}),
}  # fmt: skip
DIALECTS = sorted(CLIENTS)
each = pytest.mark.parametrize("name", DIALECTS)


def client(name: str) -> DialectClient:
    return CLIENTS[name](BASE, KEY, SECRET)


def answer(body: Any, status: int = 200, **headers: str) -> ProviderAnswer:
    return ProviderAnswer(status, body if isinstance(body, bytes) else json.dumps(body).encode(), headers)


def test_every_dialect_is_under_test_and_has_the_whole_protocol() -> None:
    assert set(SOLD) == set(CLIENTS)
    for made in CLIENTS.values():
        assert {name for name in dir(Outbound) if not name.startswith("_")} <= set(dir(made))


@each
def test_an_order_becomes_a_request_with_the_key_in_its_headers_alone(name: str) -> None:
    request = client(name).create(SOLD[name].order)
    assert (request.method, request.url.startswith(f"{BASE}/")) == ("POST", True)
    assert any(KEY in value for value in request.headers.values())
    assert KEY not in request.url + json.dumps(request.json)
    assert KEY not in repr(request)
    assert SECRET not in repr(request) + json.dumps(dict(request.headers))
    said = json.dumps(request.json)
    assert "a fox" in said
    for url in SOLD[name].order.inputs.values():
        assert url in said


@each
def test_an_order_that_the_dialect_cannot_say_is_refused_as_that(name: str) -> None:
    with pytest.raises(ProviderRefused) as raised:
        client(name).create(SOLD[name].not_sold)
    assert raised.value.why in (Why.MODEL, Why.INPUT)


@each
def test_what_was_placed_is_named_in_every_later_request(name: str) -> None:
    sold, mine = SOLD[name], client(name)
    placed = mine.created(sold.order, answer(sold.created))
    assert placed == sold.placed
    later = [mine.status(placed)]
    if Can.CANCEL in mine.can:
        later += [mine.cancel(placed, running=running) for running in (True, False)]
    for request in later:
        assert "t-1" in request.url + json.dumps(request.json)
        assert request.headers.keys() == mine.create(sold.order).headers.keys() - {"Idempotency-Key"}


@each
@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.SUCCEEDED, State.FAILED])
def test_a_status_is_read(name: str, state: State) -> None:
    sold = SOLD[name]
    fault = Fault(FaultCode.PROVIDER_FAILED, "no luck") if state is State.FAILED else None
    outputs = (Output("https://files.example/v.mp4"),) if state is State.SUCCEEDED else ()
    told = sold.status(Report(id="t-1", state=state, model="m", fault=fault, outputs=outputs, created_ms=MADE_MS))
    report = client(name).report(sold.placed, answer(told))
    assert (report.id, report.state) == ("t-1", state)
    assert bool(report.urls) == (state is State.SUCCEEDED)
    assert bool(report.fault) == (state is State.FAILED)


@each
def test_what_a_dialect_has_beside_is_what_it_says(name: str) -> None:
    mine, order = client(name), SOLD[name].order
    calls: dict[Can, Callable[[], Any]] = {
        Can.CANCEL: lambda: mine.cancel(SOLD[name].placed, running=True),
        Can.BALANCE: mine.balance,
        Can.ESTIMATE: lambda: mine.estimate(order),
        Can.UPLOAD: lambda: mine.upload(File("a.png", "image/png", b"x")),
    }
    for can, call in calls.items():
        if can in mine.can:
            assert isinstance(call(), ProviderRequest)
        else:
            with pytest.raises(NotOffered):
                call()
    if Can.BALANCE in mine.can:
        assert mine.left(answer(SOLD[name].balance)) == 1_500_000
    if Can.CALLBACK not in mine.can:
        with pytest.raises(NotOffered):
            mine.callback({})
    if Can.LOOK_UP not in mine.can:
        with pytest.raises(NotOffered):
            mine.look_up(order)
    if Can.IDEMPOTENT in mine.can:
        assert "order-1" in mine.create(order).headers.values()


def test_an_estimate_and_uploads_are_read() -> None:
    assert client("crun").estimated(answer(crun.render_estimate(2_500_000, estimated=True))).credits_micro == 2_500_000
    stored = {"name": "a.png", "size": 1, "content_type": "image/png", "url": "https://files.example/a.png"}
    kies = kie.render_uploaded(path="a.png", uploaded_at="2026-01-01T00:00:00Z", **stored)  # type: ignore[arg-type]
    assert client("kie").uploaded(answer(kies)) == stored["url"]
    wiros = wiro_catalog.render_uploaded(file_id="f", folder="0", added_s=1, **stored)  # type: ignore[arg-type]
    assert client("wiro").uploaded(answer(wiros)) == stored["url"]


def test_an_order_whose_answer_was_lost_is_found_in_wiro_s_list() -> None:
    sold, mine = SOLD["wiro"], client("wiro")
    order = replace(sold.order, webhook_url="https://farm.example/v1/purchases/j/n")
    body = mine.create(order).json
    other = {**body, "callbackUrl": "https://farm.example/v1/purchases/j/m"}
    ours = Report(id="t-1", state=State.RUNNING, handle="token", request=body, created_ms=MADE_MS)
    theirs = replace(ours, id="t-2", request=other)
    assert mine.look_up(order).url.endswith("/v1/Task/List")
    listed = answer(wiro_task.render_list([theirs, ours]))
    assert mine.looked_up(order, listed) == Placed("t-1", "token", sold.placed.model)
    assert mine.looked_up(order, answer(wiro_task.render_list([theirs]))) is None
    # without an address of its own it is found by prompt and seed, unless two are alike
    bare = replace(order, webhook_url=None)
    assert mine.looked_up(bare, answer(wiro_task.render_list([ours]))) == Placed("t-1", "token", sold.placed.model)
    assert mine.looked_up(bare, listed) is None


def test_a_result_that_lies_at_the_api_is_fetched_with_the_key_and_no_other_is() -> None:
    mine = client("openai")
    told = openai.render_status(Report(id="t-1", state=State.SUCCEEDED, created_ms=MADE_MS, finished_ms=MADE_MS))
    (url,) = mine.report(PLACED, answer(told)).urls
    assert url == f"{BASE}/v1/videos/t-1/content"
    assert mine.result_headers(url) == {"Authorization": f"Bearer {KEY}"}
    assert mine.result_headers("https://elsewhere.example/v1/videos/t-1/content") == {}
    assert all(client(name).result_headers("https://files.example/v.mp4") == {} for name in DIALECTS)


def test_another_farm_knows_an_order_by_its_key_and_says_so_when_it_does_not() -> None:
    mine, order = client("farm"), replace(TEXT, key="order-1")
    assert mine.look_up(order).url.endswith("/v1/jobs?idempotency_key=order-1")
    there = {"object": "list", "data": [view(Report(id="t-1", state=State.QUEUED))]}
    assert mine.looked_up(order, answer(there)) == PLACED
    with pytest.raises(ProviderRefused) as raised:
        mine.looked_up(order, answer({"object": "list", "data": []}))
    assert raised.value.why is Why.UNKNOWN_JOB


WORDS = {
    Why.KEY: errors.Unauthorized("who?"),
    Why.CREDIT: errors.PaymentRequired("no money"),
    Why.BUSY: errors.TooMany("slower", retry_after_s=7.0),
    Why.UNKNOWN_JOB: errors.NotFound("no such job"),
}


@each
@pytest.mark.parametrize("why", WORDS)
def test_a_refusal_is_the_provider_s_and_nobody_else_s(name: str, why: Why) -> None:
    """An empty account there is no 402 of the tenant's, whatever HTTP status it came with."""
    sold, mine, error = SOLD[name], client(name), WORDS[why]
    body = sold.error(error)
    for status in {error.http_status, getattr(_reply(name, error), "status", error.http_status)}:
        got = answer(body, status, **{"Retry-After": "7"})
        for read in _readings(mine, sold.order, sold.placed):
            with pytest.raises(ProviderRefused) as raised:
                read(got)
            assert raised.value.why is why
            assert not isinstance(raised.value, RequestError)
            assert raised.value.retry_after_s == (7.0 if why is Why.BUSY else None)


@each
def test_a_provider_that_repeats_our_key_is_quoted_without_it(name: str) -> None:
    sold, mine = SOLD[name], client(name)
    error = errors.Unauthorized(f"the key {KEY} of {SECRET} is not known")
    for status in (401, 200) if name in ("kie", "wiro") else (401,):
        with pytest.raises(ProviderRefused) as raised:
            mine.created(sold.order, answer(sold.error(error), status))
        assert KEY not in repr(raised.value) + str(raised.value)
        assert SECRET not in repr(raised.value) + str(raised.value)
        assert raised.value.__cause__ is None


@each
def test_a_report_that_repeats_our_key_is_read_without_it(name: str) -> None:
    sold, fault = SOLD[name], Fault(FaultCode.PROVIDER_FAILED, f"no, {KEY} of {SECRET}")
    failed = Report(id="t-1", state=State.FAILED, fault=fault, created_ms=MADE_MS, finished_ms=MADE_MS)
    read = client(name).report(sold.placed, answer(sold.status(failed)))
    assert read.state is State.FAILED
    assert KEY not in repr(read.fault)
    assert SECRET not in repr(read.fault)


@each
def test_a_status_that_no_document_has_is_not_over_yet_and_is_told(name: str) -> None:
    def said(body: Any, word: str) -> Any:
        if isinstance(body, list):
            return [said(one, word) for one in body]
        if not isinstance(body, dict):
            return body
        spoilt = {key: said(value, word) for key, value in body.items()}
        return spoilt | {key: word for key in ("state", "status") if isinstance(body.get(key), str)}

    sold, mine = SOLD[name], client(name)
    told = json.loads(json.dumps(sold.status(Report(id="t-1", state=State.RUNNING, created_ms=MADE_MS))))
    assert mine.report(sold.placed, answer(told)).unknown_word == ""
    read = mine.report(sold.placed, answer(said(told, f"dozing with {KEY}")))
    assert (read.state, read.unknown_word) == (State.RUNNING, "dozing with <key>")


def _reply(name: str, error: Exception) -> Any:
    codec: Any = {"kie": kie, "apixo": apixo, "crun": crun, "wiro": wiro, "openai": openai, "selfhosted": selfhosted}
    return codec[name].render_error(error) if name in codec else None


def _readings(mine: DialectClient, order: PurchaseOrder, placed: Placed) -> list[Callable[[ProviderAnswer], Any]]:
    found: list[Callable[[ProviderAnswer], Any]] = [lambda a: mine.created(order, a), lambda a: mine.report(placed, a)]
    if Can.BALANCE in mine.can:
        found.append(mine.left)
    if Can.ESTIMATE in mine.can:
        found.append(mine.estimated)
    if Can.UPLOAD in mine.can:
        found.append(mine.uploaded)
    if Can.CANCEL in mine.can:
        found.append(lambda a: mine.cancelled(placed, a))
    return found


@each
@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_an_error_of_the_server_leaves_open_whether_the_order_was_taken(name: str, status: int) -> None:
    sold, mine = SOLD[name], client(name)
    for body in (b"<html>Bad Gateway</html>", b"", b'{"code": 500}'):
        with pytest.raises(Unreadable):
            mine.created(sold.order, answer(body, status))
        with pytest.raises((ProviderRefused, Unreadable)):
            mine.report(sold.placed, answer(body, status))


@each
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"code": 200', b"[]", b"{}", b"null", b"7", b'"ok"', b"[" * 9999])
def test_an_answer_that_is_none_is_unreadable(name: str, body: bytes) -> None:
    sold, mine = SOLD[name], client(name)
    for read in _readings(mine, sold.order, sold.placed):
        with pytest.raises(Unreadable):
            read(answer(body))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300)
@given(st.data())
def test_no_answer_is_anything_but_read_refused_or_unreadable(data: Any) -> None:
    """Real answers with something else in any of their places, and with any HTTP status."""
    name = data.draw(st.sampled_from(DIALECTS))
    sold, mine = SOLD[name], client(name)
    report = Report(id="t-1", state=data.draw(st.sampled_from(State)), outputs=(Output("u"),), created_ms=MADE_MS)
    body = json.loads(json.dumps(data.draw(st.sampled_from([sold.created, sold.status(report), sold.balance]))))
    for _ in range(data.draw(st.integers(1, 3))):
        body = _spoilt(body, data)
    got = answer(json.dumps(body).encode(), data.draw(st.sampled_from([200, 200, 200, 201, 400, 402, 404, 422, 500])))
    readings = _readings(mine, sold.order, sold.placed)
    if Can.CALLBACK in mine.can:
        readings.append(lambda a: mine.callback(a.json()))
    for read in readings:
        try:
            read(got)
        except (ProviderRefused, Unreadable):
            continue


def _spoilt(body: Any, data: Any) -> Any:
    if isinstance(body, dict) and body and data.draw(st.integers(0, 4)):
        key = data.draw(st.sampled_from(sorted(body)))
        return {**body, key: _spoilt(body[key], data)}
    if isinstance(body, list) and body and data.draw(st.integers(0, 2)):
        return [_spoilt(body[0], data), *body[1:]]
    return data.draw(_JSON)
