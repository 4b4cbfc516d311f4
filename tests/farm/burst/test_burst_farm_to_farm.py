"""One farm buys from another, in every dialect: both are ours, and everything between them is HTTP."""

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from burst_parts import KEY_ENV, BuyingFarm, buying_from, new_job, spec
from redis import Redis

from api.app import create_app
from farm.config import PriceSettings, ProviderSettings, Settings
from farm.jobs.job import Artifacts, Claim
from farm.jobs.purchase import PurchaseEnding
from farm.jobs.spec import InputRef
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import INTAKE_POOL, Ledger
from farm.ledger.connection import connect
from farm.storage.object_keys import result_key
from farm.storage.store import Store
from farm.tenants.tenants import Tenants
from models.catalog import MODELS
from tests.api.gateway_thread import served
from tests.conftest import wait_until

TINY_T2V, TINY_I2V, ANIMATE = "wan2.2-t2v-a14b-4step-tiny", "wan2.2-i2v-a14b-tiny", "wan2.2-animate-14b"
SOLD = {
    "kie": "wan/2-2-a14b-text-to-video-turbo", "apixo": "wan-2-2-animate", "crun": "wan/2-2-animate-replace",
    "wiro": "Wan-AI/Wan2.2-I2V-A14B", "selfhosted": "wan2.2-14b-fp8", "openai": TINY_T2V, "farm": TINY_T2V,
}  # fmt: skip
PICTURE = InputRef(key="inputs/acme/picture", sha256="ab" * 32, width=832, height=480, content_type="image/png")
CLIP = InputRef(
    key="inputs/acme/clip", sha256="cd" * 32, width=832, height=480, seconds=5.0, frames=81, fps=16.0,
    content_type="video/mp4",
)  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "kie": {"model": "wan2.2-t2v-a14b-4step"},
    "apixo": {"model": ANIMATE, "task": "replace", "inputs": {"image": PICTURE, "video": CLIP}},
    "crun": {"model": ANIMATE, "task": "replace", "inputs": {"image": PICTURE, "video": CLIP}},
    "wiro": {"model": "wan2.2-i2v-a14b", "task": "i2v", "inputs": {"image": PICTURE}},
    "selfhosted": {"model": "wan2.2-t2v-a14b"},
    "openai": {"model": TINY_T2V, "width": MODELS[TINY_T2V].defaults.width, "height": MODELS[TINY_T2V].defaults.height},
    "farm": {"model": TINY_T2V, "width": MODELS[TINY_T2V].defaults.width, "height": MODELS[TINY_T2V].defaults.height},
}


def clip() -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as box:
        stream: Any = box.add_stream("libx264", rate=16)
        stream.width, stream.height = 96, 64
        for n in range(9):
            box.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 96, 3), n * 20, np.uint8), "rgb24")))
        box.mux(stream.encode())
    return out.getvalue()


class Seller:
    """The other farm, with a hand for a worker: its results are real clips."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ledger, self.store = Ledger(connect(settings.redis), settings), Store(settings.s3)
        self.tenants = Tenants(connect(settings.redis), settings)
        self.tenants.create("buyer")
        _, self.key = self.tenants.api_keys.create("buyer")
        models = (TINY_T2V, TINY_I2V, ANIMATE)
        self.ledger.worker_seen("hand", "default", WorkerStatus(models=models, device="cpu"), ttl_s=60)

    @contextmanager
    def works(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self._work, args=(stop,), daemon=True)
        thread.start()
        yield
        stop.set()
        thread.join(10)

    def _work(self, stop: threading.Event) -> None:
        while not stop.wait(0.02):
            while (claim := self.ledger.claim(INTAKE_POOL, "desk")) is not None:
                kept = {role: InputRef(key="inputs/buyer/x", sha256="ab" * 32, size=1, width=64, height=64, seconds=4.0)
                        for role in claim.job.spec.inputs}  # fmt: skip
                self.ledger.intake_done(claim.job.id, claim.attempt, kept)
            while (claim := self.ledger.claim("default", "hand")) is not None:
                self._finish(claim)

    def _finish(self, claim: Claim) -> None:
        keys = [result_key("buyer", claim.job.id, claim.attempt, n) for n in ("video.mp4", "poster.jpg", "recipe.json")]
        for key, kind in zip(keys, ("video/mp4", "image/jpeg", "application/json"), strict=True):
            self.store.put_bytes(key, clip(), kind)
        self.ledger.commit(
            claim.job.id, claim.attempt, Artifacts(*keys, len(clip()), "ab" * 32, 96, 64, 9, 16.0, 0.56), gpu_s=1.0
        )


@pytest.fixture
def seller(settings: Settings, redis: Redis) -> Iterator[tuple[Seller, str]]:
    own = settings.model_copy(
        update={
            "redis": settings.redis.model_copy(update={"prefix": "seller"}),
            "intake": settings.intake.model_copy(update={"allow_networks": ("127.0.0.0/8",)}),
            # as much as its buyers expect: 0.01 dollars a second, at 0.005 dollars a credit
            "prices": PriceSettings(per_second={TINY_T2V: dict.fromkeys(("480p", "580p", "720p"), 2.0)}),
        }
    )
    Store(own.s3).ensure_bucket()
    made = Seller(own)
    with served(create_app(own)) as url:
        yield made, url


@pytest.fixture
def buyer(
    settings: Settings, seller: tuple[Seller, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    there, url = seller
    monkeypatch.setenv(KEY_ENV, there.key)
    with ExitStack() as stack:

        def make(dialect: str, **burst: Any) -> BuyingFarm:
            one = ProviderSettings.model_validate(
                {
                    "dialect": dialect, "base_url": url, "keys": {"main": {"env": KEY_ENV}}, "unit_usd": 0.005,
                    "models": {SOLD[dialect]: {"per_second": {"480p": 0.01, "580p": 0.01, "720p": 0.01}}},
                    "poll_first_s": 0.05, "poll_max_s": 0.1, "rate_per_s": 1000, "rate_burst": 1000,
                }
            )  # fmt: skip
            return stack.enter_context(BuyingFarm(buying_from(settings, {"other": one}, **burst)))

        yield make


def _states(seller: Seller) -> list[State]:
    return [job.state for job in seller.ledger.page("buyer").jobs]


def _each(*dialects: str) -> list[Any]:
    """Two with every landing, all of them with `make soak`."""
    return [pytest.param(one, marks=() if one in ("farm", "openai") else pytest.mark.soak) for one in dialects]


@pytest.mark.parametrize("dialect", _each(*sorted(TASKS)))
def test_a_job_is_bought_from_another_farm_and_becomes_this_one_s(
    dialect: str, buyer: Any, seller: tuple[Seller, str]
) -> None:
    here: BuyingFarm = buyer(dialect)
    for ref in (PICTURE, CLIP):
        here.context.store.put_bytes(str(ref.key), b"x", str(ref.content_type))
    asked = {"frames": 81, "fps": 16} if dialect == "selfhosted" else {}
    (job_id,) = here.admit(new_job(spec=spec("a fox", **TASKS[dialect] | asked)))
    with seller[0].works():
        job = here.until_over(job_id)
    assert job.state is State.SUCCEEDED
    assert job.artifacts is not None
    assert (job.artifacts.width, job.artifacts.frames) == (96, 9)
    (there,) = seller[0].ledger.page("buyer").jobs
    assert (there.spec.prompt, there.state) == ("a fox", State.SUCCEEDED)
    assert here.purchase(job_id).ending is PurchaseEnding.DELIVERED


@pytest.mark.parametrize("dialect", _each("farm", "wiro"))
def test_a_cancel_reaches_the_other_farm(dialect: str, buyer: Any, seller: tuple[Seller, str]) -> None:
    here: BuyingFarm = buyer(dialect)
    here.context.store.put_bytes(str(PICTURE.key), b"x", "image/png")
    (job_id,) = here.admit(new_job(spec=spec("a fox", **TASKS[dialect])))
    here.until(job_id, lambda job: job.purchase_id, "its purchase")
    here.ledger.cancel("acme", job_id)
    assert here.until_over(job_id).state is State.CANCELLED
    wait_until(lambda: _states(seller[0]) == [State.CANCELLED], what="the other farm to hear of it")


def test_a_job_that_fails_there_is_rendered_here_and_costs_nothing(buyer: Any, seller: tuple[Seller, str]) -> None:
    here: BuyingFarm = buyer("farm", tries=1)
    (job_id,) = here.admit(new_job(spec=spec("a fox", **TASKS["farm"])))
    here.until(job_id, lambda job: job.purchase_id, "its purchase")
    (there,) = seller[0].ledger.page("buyer").jobs
    seller[0].ledger.cancel("buyer", there.id)
    here.until(job_id, lambda job: job.state is State.QUEUED, "its return")
    assert here.spent() == (0, 0)


def test_an_account_at_another_farm_is_explained_by_what_was_bought(buyer: Any, seller: tuple[Seller, str]) -> None:
    first = 5_000_000
    seller[0].ledger.topup("buyer", first * 200)
    here: BuyingFarm = buyer("farm", balances_every_s=0.1)

    def account() -> Mapping[str, int]:
        (one,) = here.ledger.accounts_there([("other", "main")])
        return one

    wait_until(lambda: account().get("balance") == first, what="the first look")
    (job_id,) = here.admit(new_job(spec=spec("a fox", **TASKS["farm"])))
    with seller[0].works():
        assert here.until_over(job_id).state is State.SUCCEEDED
    cost = here.purchase(job_id).cost
    assert cost
    after = {"balance": first - cost, "held": 0, "spent": cost, "unexplained": 0}
    # a look between the other farm's booking and ours does not know what the money went for
    wait_until(lambda: account().items() >= after.items(), what="a look after the purchase")
    # what somebody else orders with the same key is told
    seller[0].ledger.topup("buyer", -200 * 30_000)
    wait_until(lambda: account()["unexplained"] == 30_000, what="the difference")


def test_a_farm_that_did_not_answer_is_asked_again_under_the_same_key(buyer: Any, seller: tuple[Seller, str]) -> None:
    """The Idempotency-Key makes the second request the first one's answer."""
    here: BuyingFarm = buyer("farm")
    (job_id,) = here.admit(new_job(spec=spec("a fox", **TASKS["farm"])))
    here.until(job_id, lambda job: job.purchase_id, "its purchase")
    # as after a lost answer: the farm forgets the id, and whoever resumes finds it again
    here.ledger._redis.hdel(f"wf:job:{job_id}", "purchase_id")
    here.ledger._redis.hdel(f"wf:purchase:{here.purchase(job_id).nonce}", "id")
    here.__exit__()
    with BuyingFarm(here.settings) as again, seller[0].works():
        assert again.until_over(job_id).state is State.SUCCEEDED
    assert len(seller[0].ledger.page("buyer").jobs) == 1
