"""Our clients against simulated providers, which were written from the providers' documents and not from our codecs."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx
import pytest

from farm.jobs.spec import InputRef, JobSpec
from farm.jobs.states import State
from farm.providers.carrier import NoAnswer, carry
from farm.wire.http import Can, File, Placed, ProviderAnswer, ProviderRefused, ProviderRequest, Unreadable, Why
from farm.wire.outbound import CLIENTS, DialectClient
from farm.wire.purchase_order import PurchaseOrder
from farm.wire.report import Report
from models.catalog import MODELS
from tests.conftest import wait_until
from tests.simulators import HTTP, KEY, ROOT, Simulated, simulated

DIALECTS = ("kie", "apixo", "crun", "wiro", "selfhosted", "openai")
PICTURE = InputRef(key="k", sha256="s", width=832, height=480)
SMALL = {"size": [64, 48], "frames": 5, "queue_s": 0.0, "render_s": 0.0}


def spec(model: str, task: str, *roles: str) -> JobSpec:
    own = MODELS[model].defaults
    return JobSpec(
        model, task, "a fox", "", 832, 480, own.frames, own.fps, own.steps, own.guidance, own.guidance_2, own.shift, 7,
        inputs=dict.fromkeys(roles, PICTURE),
    )  # fmt: skip


def order(model: str, task: str, *roles: str) -> PurchaseOrder:
    return PurchaseOrder(spec(model, task, *roles), {role: f"https://files.example/{role}" for role in roles})


ANIMATE = order("wan2.2-animate-14b", "replace", "image", "video")
ORDERS = {
    "kie": order("wan2.2-t2v-a14b-4step", "t2v"),
    "apixo": ANIMATE,
    "crun": ANIMATE,
    "wiro": order("wan2.2-i2v-a14b", "i2v", "image"),
    "selfhosted": order("wan2.2-t2v-a14b", "t2v"),
    "openai": order("wan2.2-t2v-a14b", "t2v"),
}


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Simulated]]:
    with simulated(tmp_path_factory.mktemp("providers"), *DIALECTS) as running:
        yield running


@pytest.fixture(params=DIALECTS)
def provider(request: pytest.FixtureRequest, providers: dict[str, Simulated]) -> Simulated:
    one = providers[request.param]
    one.faults()
    one.settings(**SMALL, retired=[], rate=None, concurrency=None, price_factor=1.0, balance=1000.0)
    return one


def client(provider: Simulated, key: str = KEY) -> DialectClient:
    return CLIENTS[provider.dialect](provider.address, key)


def ask(request: ProviderRequest, timeout_s: float = 20.0) -> ProviderAnswer:
    return carry(request, timeout_s)


def buy(provider: Simulated) -> Placed:
    mine, what = client(provider), ORDERS[provider.dialect]
    return mine.created(what, ask(mine.create(what)))


def report(provider: Simulated, placed: Placed) -> Report:
    mine = client(provider)
    return mine.report(placed, ask(mine.status(placed)))


def fetched(provider: Simulated, found: Report) -> httpx.Response:
    """OpenAI's clips lie behind the key."""
    (url,) = found.urls
    headers = {"Authorization": f"Bearer {KEY}"} if provider.dialect == "openai" else {}
    return HTTP.get(url if url.startswith("http") else provider.address + url, headers=headers)


def test_nothing_of_the_farm_is_in_the_simulators() -> None:
    texts = [path.read_text() for path in (ROOT / "tools" / "provider_simulator").rglob("*.py")]
    assert len(texts) > 8
    assert not any("from farm" in text or "import farm" in text for text in texts)


def test_a_clip_is_bought_charged_and_fetched(provider: Simulated) -> None:
    before = provider.ledger()
    placed = buy(provider)
    done = report(provider, placed)
    assert (done.id, done.state, len(done.urls)) == (placed.id, State.SUCCEEDED, 1)
    with av.open(BytesIO(fetched(provider, done).content)) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 5
    after = provider.ledger()
    assert (after["accepted"], after["submits"]) == (before["accepted"] + 1, before["submits"] + 1)
    charge = after["charged"][-1]
    assert charge["id"] == placed.id
    assert charge["units"] == pytest.approx(before["balance"] - after["balance"])
    if done.credits_micro:
        assert done.credits_micro == round(charge["units"] * 1e6)
    elif provider.dialect in ("kie", "crun", "wiro"):
        pytest.fail(f"{provider.dialect} tells costs and none was read")


def test_an_open_task_is_open_and_a_failed_one_is_not_charged(provider: Simulated) -> None:
    provider.settings(render_s=1000.0)
    assert report(provider, buy(provider)).state is State.RUNNING
    provider.settings(queue_s=1000.0)
    assert report(provider, buy(provider)).state in (State.QUEUED, State.WAITING)
    provider.settings(**SMALL)
    provider.faults({"on": "create", "do": "fail", "times": 1})
    before = provider.ledger()["balance"]
    failed = report(provider, buy(provider))
    assert (failed.state, bool(failed.fault)) == (State.FAILED, True)
    assert provider.ledger()["balance"] == before


def test_a_word_that_no_document_has_is_not_the_end(provider: Simulated) -> None:
    provider.settings(render_s=1000.0)
    provider.faults({"on": "create", "do": "word", "word": "meditating"})
    assert report(provider, buy(provider)).state is State.RUNNING


REFUSALS = {
    "key": Why.KEY,
    "credit": Why.CREDIT,
    "busy": Why.BUSY,
    "maintenance": Why.AWAY,
    "input": Why.INPUT,
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_is_understood(provider: Simulated, kind: str) -> None:
    if provider.dialect == "selfhosted" and kind in ("credit", "maintenance"):
        return  # it has no account, and its document no word for maintenance
    if kind == "maintenance" and provider.dialect in ("apixo", "openai", "wiro"):
        # an HTTP 503 to a request that costs money says nothing about whether it was done
        provider.faults({"on": "create", "do": "refuse", "kind": kind, "times": 1})
        with pytest.raises(Unreadable):
            buy(provider)
        return
    provider.faults({"on": "create", "do": "refuse", "kind": kind, "times": 1, "retry_after": 7})
    before = provider.ledger()["accepted"]
    with pytest.raises(ProviderRefused) as raised:
        buy(provider)
    assert raised.value.why is REFUSALS[kind]
    if kind == "busy":
        assert raised.value.retry_after_s == 7
    assert provider.ledger()["accepted"] == before


def test_limits_an_empty_account_and_a_retired_model_refuse_by_themselves(provider: Simulated) -> None:
    mine, what = client(provider, "wrong"), ORDERS[provider.dialect]
    cases: list[tuple[dict[str, Any], DialectClient, tuple[Why, ...]]] = [
        ({}, mine, (Why.KEY,)),
        ({"concurrency": 0}, client(provider), (Why.BUSY,)),
        ({"rate": 0}, client(provider), (Why.BUSY,)),
    ]
    if provider.dialect != "selfhosted":
        client(provider).created(what, ask(client(provider).create(what)))
        model = provider.ledger()["charged"][-1]["model"]
        cases.append(({"balance": 0.001, "rate": None, "concurrency": None}, client(provider), (Why.CREDIT,)))
        cases.append(
            ({"balance": 1000.0, "retired": [model]}, client(provider), (Why.MODEL, Why.INPUT, Why.UNKNOWN_JOB))
        )
    for settings, buyer, wanted in cases:
        provider.settings(**settings)
        with pytest.raises(ProviderRefused) as raised:
            buyer.created(what, ask(buyer.create(what)))
        assert raised.value.why in wanted, settings


@pytest.mark.parametrize("do", ["drop", "half", "hang", "http", "text", "refuse"])
def test_what_was_accepted_without_a_readable_answer_is_not_known(provider: Simulated, do: str) -> None:
    """And nothing of it reads as a refusal: the simulator charged."""
    fault = {"on": "create", "do": do, "times": 1, "accept": True, "kind": "server", "seconds": 30}
    provider.faults(fault)
    before, mine, what = provider.ledger()["accepted"], client(provider), ORDERS[provider.dialect]
    with pytest.raises((NoAnswer, Unreadable)):
        mine.created(what, ask(mine.create(what), 1.0 if do == "hang" else 20.0))
    wait_until(lambda: provider.ledger()["accepted"] == before + 1, what="the charge")


def test_a_task_that_was_accepted_twice_is_charged_twice(provider: Simulated) -> None:
    provider.faults({"on": "create", "do": "twice", "times": 1})
    before = provider.ledger()["accepted"]
    buy(provider)
    assert provider.ledger()["accepted"] == before + 2


def test_a_poll_that_fails_says_nothing_about_the_task(provider: Simulated) -> None:
    placed = buy(provider)
    for do in ("drop", "half", "http", "text"):
        provider.faults({"on": "status", "do": do, "times": 1})
        with pytest.raises((NoAnswer, Unreadable, ProviderRefused)) as raised:
            report(provider, placed)
        assert not isinstance(raised.value, ProviderRefused) or raised.value.why is Why.AWAY
    provider.faults({"on": "status", "do": "unknown", "times": 1})
    with pytest.raises(ProviderRefused) as refusal:
        report(provider, placed)
    assert refusal.value.why is Why.UNKNOWN_JOB
    assert report(provider, placed).state is State.SUCCEEDED


@pytest.mark.parametrize(("fate", "status"), [("broken", 200), ("oversized", 200), ("expired", 403)])
def test_a_result_may_be_bad(provider: Simulated, fate: str, status: int) -> None:
    if (fate, provider.dialect) == ("expired", "openai"):
        return  # it gives out no links
    provider.settings(oversized_bytes=300_000)
    provider.faults({"on": "create", "do": "clip", "as": fate, "times": 1})
    got = fetched(provider, report(provider, buy(provider)))
    assert got.status_code == status
    if fate == "oversized":
        assert len(got.content) == 300_000
    if fate == "broken":
        with pytest.raises(av.FFmpegError), av.open(BytesIO(got.content)) as clip:
            list(clip.decode(video=0))


def test_what_a_dialect_has_beside(provider: Simulated) -> None:
    mine, what = client(provider), ORDERS[provider.dialect]
    if Can.BALANCE in mine.can:
        assert mine.left(ask(mine.balance())) == 1_000_000_000
    if Can.ESTIMATE in mine.can:
        found = mine.estimated(ask(mine.estimate(what)))
        assert found.exact
        assert found.credits_micro > 0
    if Can.UPLOAD in mine.can:
        assert mine.uploaded(ask(mine.upload(File("a.png", "image/png", b"x" * 99)))).startswith(provider.address)
    if Can.CANCEL in mine.can:
        for running, settings in ((False, {"queue_s": 1000.0}), (True, {"queue_s": 0.0, "render_s": 1000.0})):
            provider.settings(**settings)
            placed = buy(provider)
            mine.cancelled(placed, ask(mine.cancel(placed, running=running)))
            if provider.dialect == "openai":  # what was deleted is gone
                with pytest.raises(ProviderRefused):
                    report(provider, placed)
            else:
                assert report(provider, placed).state is State.CANCELLED
            assert provider.ledger()["charged"][-1]["refunded"]
        if provider.dialect != "openai":
            with pytest.raises(ProviderRefused):
                mine.cancelled(placed, ask(mine.cancel(placed, running=True)))


def test_signed_requests_are_what_wiro_documents(tmp_path: Path) -> None:
    with simulated(tmp_path, "wiro", arguments=("--secret", "sesame")) as running:
        wiro, what = running["wiro"], ORDERS["wiro"]
        signed = CLIENTS["wiro"](wiro.address, KEY, "sesame")
        assert signed.created(what, ask(signed.create(what))).id
        for secret in (None, "wrong"):
            other = CLIENTS["wiro"](wiro.address, KEY, secret)
            with pytest.raises(ProviderRefused) as raised:
                other.created(what, ask(other.create(what)))
            assert raised.value.why is Why.KEY


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    got: list[bytes] = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Takes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", got
    server.shutdown()
    server.server_close()


def test_callbacks_are_read_whatever_their_order(provider: Simulated, receiver: tuple[str, list[bytes]]) -> None:
    mine, (url, got) = client(provider), receiver
    if Can.CALLBACK not in mine.can:
        return
    wanted: dict[str, Callable[[list[Report]], bool]] = {
        "": lambda said: [one.state for one in said] == [State.SUCCEEDED],
        "twice": lambda said: [one.state for one in said] == [State.SUCCEEDED] * 2,
        "order": lambda said: said[-1].state is not State.SUCCEEDED,
    }
    what = replace(ORDERS[provider.dialect], webhook_url=url)
    for do, right in wanted.items():
        got.clear()
        provider.faults(*([{"on": "callback", "do": do}] if do else []))
        placed = mine.created(what, ask(mine.create(what)))
        count = 1 if not do else 2
        wait_until(lambda n=count: len(got) >= n, what=f"{count} callbacks")  # type: ignore[misc]
        said = [mine.callback(ProviderAnswer(200, body).json()) for body in got]
        assert {one.id for one in said} == {placed.id}
        assert right(said), do
    # one that lies: it says done while the task runs
    got.clear()
    provider.settings(render_s=1000.0)
    provider.faults({"on": "create", "do": "forged", "times": 1})
    placed = mine.created(what, ask(mine.create(what)))
    wait_until(lambda: bool(got), what="the forged callback")
    assert mine.callback(ProviderAnswer(200, got[0]).json()).state is State.SUCCEEDED
    assert report(provider, placed).state is State.RUNNING


def test_an_account_outlives_its_process(tmp_path: Path) -> None:
    with simulated(tmp_path, "kie") as running:
        placed = buy(running["kie"])
        before = running["kie"].ledger()
    with simulated(tmp_path, "kie") as running:
        assert report(running["kie"], placed).id == placed.id
        assert running["kie"].ledger()["accepted"] == before["accepted"] == 1
