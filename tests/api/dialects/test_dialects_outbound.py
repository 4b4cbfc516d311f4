"""From farm to farm: every dialect's client buys from this gateway, by the requests that a provider would get."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import pytest
from dialect_parts import CLIP, I2V, PICTURE, T2V, Worker

from farm.jobs.spec import InputRef, JobSpec
from farm.jobs.states import State
from farm.ledger import Ledger
from farm.wire.http import Can, File, ProviderAnswer, ProviderRefused, ProviderRequest, Why
from farm.wire.outbound import CLIENTS, DialectClient
from farm.wire.purchase_order import PurchaseOrder
from models.catalog import MODELS
from tests.api.api_parts import Caller

Make = Callable[..., Caller]
SIXTEEN_NINE = InputRef(key="k", sha256="s", width=832, height=480)


def spec(model: str, task: str, *, width: int, height: int, frames: int = 17) -> JobSpec:
    own = MODELS[model].defaults
    return JobSpec(
        model, task, "a fox", "", width, height, frames, own.fps, own.steps, own.guidance, own.guidance_2, own.shift, 7
    )


ANIMATED = PurchaseOrder(
    replace(
        spec("wan2.2-animate-14b", "replace", width=832, height=480),
        inputs={"image": SIXTEEN_NINE, "video": SIXTEEN_NINE},
    ),
    {"image": PICTURE, "video": CLIP},
)
OWN = MODELS[T2V].defaults
SHORT = PurchaseOrder(spec(T2V, "t2v", width=OWN.width, height=OWN.height), key="order-1")
SELF = PurchaseOrder(spec("wan2.2-ti2v-5b", "t2v", width=832, height=480, frames=81))
ORDERS = {
    "kie": PurchaseOrder(spec("wan2.2-t2v-a14b-4step", "t2v", width=832, height=480)),
    "apixo": ANIMATED,
    "crun": ANIMATED,
    "wiro": PurchaseOrder(
        replace(spec("wan2.2-i2v-a14b", "i2v", width=832, height=480), inputs={"image": SIXTEEN_NINE}),
        {"image": PICTURE},
    ),
    "openai": SHORT,
    "selfhosted": replace(SELF, spec=replace(SELF.spec, fps=16)),
    "farm": SHORT,
}


@pytest.fixture(params=sorted(CLIENTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def carry(caller: Caller, request: ProviderRequest) -> ProviderAnswer:
    """What whoever has the sockets does."""
    body = {} if request.json is None else {"json": request.json}
    if request.files:
        files = {part: (BytesIO(file.data), file.name, file.content_type) for part, file in request.files.items()}
        body = {"data": files}
    got = caller.client.open(request.url, method=request.method, headers=dict(request.headers), **body)
    return ProviderAnswer(got.status_code, got.data, dict(got.headers))


def buyer(name: str, caller: Caller) -> DialectClient:
    return CLIENTS[name]("", caller.key)


def test_a_job_is_bought_from_another_farm(name: str, caller: Make, worker: Worker, ledger: Ledger) -> None:
    assert I2V in MODELS
    alice = caller("alice")
    mine, order = buyer(name, alice), ORDERS[name]
    placed = mine.created(order, carry(alice, mine.create(order)))
    if Can.IDEMPOTENT in mine.can:
        assert mine.created(order, carry(alice, mine.create(order))) == placed
    (job,) = ledger.page("alice").jobs
    assert (job.spec.prompt, job.spec.seed == 7) == ("a fox", name != "selfhosted")
    first = mine.report(placed, carry(alice, mine.status(placed)))
    assert first.state is State.QUEUED or (first.state is State.WAITING and order.inputs)
    worker.render()
    done = mine.report(placed, carry(alice, mine.status(placed)))
    assert (done.id, done.state, len(done.urls)) == (placed.id, State.SUCCEEDED, 1)


@pytest.mark.parametrize("name", sorted(name for name, made in CLIENTS.items() if Can.CANCEL in made.can))
def test_a_bought_job_is_cancelled(name: str, caller: Make, worker: Worker) -> None:
    alice = caller("alice")
    mine, order = buyer(name, alice), ORDERS[name]
    placed = mine.created(order, carry(alice, mine.create(order)))
    mine.cancelled(placed, carry(alice, mine.cancel(placed, running=False)))
    left = carry(alice, mine.status(placed))
    if name == "openai":  # what was deleted is gone
        with pytest.raises(ProviderRefused) as raised:
            mine.report(placed, left)
        assert raised.value.why is Why.UNKNOWN_JOB
    else:
        assert mine.report(placed, left).state is State.CANCELLED


def test_an_account_there_is_read_and_an_empty_one_refuses(
    name: str, caller: Make, worker: Worker, ledger: Ledger
) -> None:
    alice = caller("alice")
    mine, order = buyer(name, alice), ORDERS[name]
    ledger.topup("alice", 1_500)
    if Can.BALANCE in mine.can:
        assert mine.left(carry(alice, mine.balance())) == 1_500
    if "video" in order.inputs:
        return  # what it costs is known once its clip was fetched
    with pytest.raises(ProviderRefused) as raised:
        mine.created(order, carry(alice, mine.create(order)))
    assert raised.value.why is Why.CREDIT


def test_a_wrong_key_an_unknown_job_and_files(name: str, caller: Make, worker: Worker) -> None:
    alice = caller("alice")
    mine, order = buyer(name, alice), ORDERS[name]
    stranger = CLIENTS[name]("", "wf_nobodys_key")
    with pytest.raises(ProviderRefused) as raised:
        stranger.created(order, carry(alice, stranger.create(order)))
    assert raised.value.why is Why.KEY
    placed = replace(mine.created(order, carry(alice, mine.create(order))), id="00000000-0000-7000-8000-000000000000")
    with pytest.raises(ProviderRefused) as raised:
        mine.report(placed, carry(alice, mine.status(placed)))
    assert raised.value.why is Why.UNKNOWN_JOB
    if Can.UPLOAD in mine.can:
        url = mine.uploaded(carry(alice, mine.upload(File("a.txt", "image/png", b"bytes"))))
        assert url.startswith("http")
    if Can.ESTIMATE in mine.can:
        assert mine.estimated(carry(alice, mine.estimate(order))).credits_micro > 0
