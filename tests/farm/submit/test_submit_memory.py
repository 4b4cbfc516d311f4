"""A shape that no worker holds is refused before anything is stored, with the largest that one does."""

import re
from dataclasses import replace
from typing import Any

import pytest
from bad_servers import Serve, page
from redis import Redis
from submit_parts import MODEL, T2V, Woken, png

from farm.config import PoolSettings, Settings
from farm.io_worker.take_in import TakeIn
from farm.jobs.draft import Draft, Source
from farm.jobs.errors import InvalidRequest
from farm.jobs.job import Job
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerState, WorkerStatus
from farm.ledger.ledger import INTAKE_POOL, Ledger
from farm.scheduling.pools import Pools
from farm.storage.store import Store
from farm.submission.submit import Submissions
from farm.wire import kie, openai
from farm.wire.job_report import report_of
from models import catalog
from models.planning import plan

#: bytes of a device on which 512x512 with 121 frames does not fit, and half of that does
LITTLE = 2.2e9


def telling(ledger: Ledger, worker: str, device_bytes: float | None, pool: str = "default", **more: Any) -> None:
    memory = {"device_bytes": device_bytes, "host_bytes": None, "fp8": False}
    status = replace(WorkerStatus(models=(T2V, MODEL), memory=memory), **more)
    ledger.worker_seen(worker, pool, status, ttl_s=600)


@pytest.fixture
def little(ledger: Ledger, settings: Settings, store: Store, woken: Woken) -> Submissions:
    telling(ledger, "w1", LITTLE)
    return Submissions(settings, ledger, store, woken)


LARGE = Draft("x", model=T2V, width=512, height=512, frames=121)


def test_what_nobody_holds_is_refused_with_the_largest_that_somebody_does(little: Submissions, redis: Redis) -> None:
    with pytest.raises(InvalidRequest, match=r"512x512 with 121 frames needs .* GB are free; what fits is") as refused:
        little.submit("ada", [LARGE], wait_inputs=True)
    assert refused.value.field == "width"
    assert list(redis.scan_iter("wf:job:*")) == []
    offers = re.findall(r"(\d+)x(\d+) with (\d+) frames", refused.value.detail)[1:]
    assert len(offers) == 2
    for width, height, frames in offers:
        # what is offered is taken, and nothing larger of its kind was kept back
        asked = replace(LARGE, width=int(width), height=int(height), frames=int(frames))
        assert little.submit("ada", [asked], wait_inputs=True)
        more = replace(asked, **({"frames": asked.frames + 4} if width == "512" else {"width": asked.width + 48}))  # type: ignore[operator]
        with pytest.raises(InvalidRequest):
            little.submit("ada", [more], wait_inputs=True)


def test_an_estimate_and_one_of_a_batch_are_refused_alike(little: Submissions, redis: Redis) -> None:
    with pytest.raises(InvalidRequest, match="what fits is"):
        little.would_be("ada", LARGE)
    with pytest.raises(InvalidRequest, match="what fits is") as refused:
        little.submit("ada", [replace(LARGE, width=128, height=128), LARGE], wait_inputs=True)
    assert refused.value.field == "jobs.1.width"
    assert list(redis.scan_iter("wf:job:*")) == []


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        (replace(LARGE, width=None, height=None, resolution="480p"), "resolution"),
        (replace(LARGE, field_names={"width": "size", "height": "size"}), "size"),
        (replace(kie.parse_create({"model": "wan/2-2-a14b-text-to-video-turbo", "input": {"prompt": "x"}}),
                 model=T2V, frames=None), "input.resolution"),
        (replace(openai.parse_create({"prompt": "x", "size": "720x1280", "seconds": "5"}, {}), model=T2V), "size"),
        (replace(LARGE, width=None, height=None, resolution=None, seconds=7.5, frames=None, steps=1), "seconds"),
    ],
)  # fmt: skip
def test_the_field_is_called_as_the_dialect_calls_it(little: Submissions, draft: Draft, field: str) -> None:
    # so little that the model's own shape does not fit either
    telling(little._ledger, "w1", 1e6)
    with pytest.raises(InvalidRequest, match="does not run on this device") as refused:
        little.submit("ada", [draft], wait_inputs=True)
    assert refused.value.field == field


def test_without_a_live_worker_or_its_word_everything_is_taken(
    settings: Settings, ledger: Ledger, store: Store, woken: Woken
) -> None:
    # the fixture's worker tells what it renders and not what it may use; another tells that it has little
    telling(ledger, "w2", LITTLE)
    assert Submissions(settings, ledger, store, woken).submit("ada", [LARGE], wait_inputs=True)
    for worker in ("w1", "w2"):
        ledger.worker_gone(worker, "default")
    later = settings.model_copy(update={"pools": {"default": PoolSettings(models=(T2V,))}})
    assert Submissions(later, ledger, store, woken).submit("ada", [LARGE], wait_inputs=True)


def test_of_two_pools_the_one_that_holds_it_gets_the_job(
    settings: Settings, ledger: Ledger, store: Store, woken: Woken
) -> None:
    for worker in ("w1", "w2", "w3"):
        telling(ledger, worker, LITTLE)
    telling(ledger, "h200", 140e9, pool="hall")
    submissions = Submissions(settings, ledger, store, woken)
    small, large = submissions.submit("ada", [replace(LARGE, width=128, height=128), LARGE], wait_inputs=True)
    jobs = [ledger.find(one.id) for one in (small, large)]
    assert [job and job.pool for job in jobs] == ["default", "hall"]
    # and in a pool of both, the ledger knows what it needs
    assert ledger.claim("hall", "h200", memory=None) is not None


def test_what_a_restarting_worker_holds_is_remembered(ledger: Ledger, settings: Settings, redis: Redis) -> None:
    now_s = 1000.0
    telling(ledger, "w", LITTLE, "p")
    telling(ledger, "big", 140e9, "p")
    pools = Pools(settings, ledger.offers, lambda: now_s)
    large = plan.Burden(catalog.get(T2V), 512, 512, 121)
    assert pools.refusal(large, "p") is None
    # it starts again: live, and without a word about models
    ledger.worker_seen("big", "p", WorkerStatus(state=WorkerState.STARTING), ttl_s=600)
    now_s += 2
    assert pools.refusal(large, "p") is None
    (offer,) = (one for one in redis.zrange("wf:offered:p", 0, -1) if one.startswith("140000:"))
    redis.zincrby("wf:offered:p", -601_000, offer)
    now_s += 2
    assert "what fits is" in (pools.refusal(large, "p") or "")
    # what one tells last is what counts
    telling(ledger, "big", 140e9, "p")
    now_s += 2
    assert pools.refusal(large, "p") is None
    telling(ledger, "big", LITTLE, "p")
    now_s += 2
    assert "what fits is" in (pools.refusal(large, "p") or "")


def test_an_approximation_that_keeps_too_much_is_named(ledger: Ledger, settings: Settings, store: Store) -> None:
    model = catalog.get("wan2.2-t2v-a14b")
    asked = Draft("x", model=model.id, resolution="720p", guidance=1.0, options={"lossy": "pab"})
    least = plan.needs(plan.Burden(model, 1280, 720, 81), plan.MemoryPlan(plan.Where.STREAMED, tiled=True)).device_bytes
    telling(ledger, "w1", least / plan.USABLE + 2e6, models=(model.id,))
    submissions = Submissions(settings, ledger, store, Woken())
    with pytest.raises(InvalidRequest, match=r"options\.lossy pab keeps .* without it, it fits"):
        submissions.submit("ada", [asked], wait_inputs=True)
    assert submissions.submit("ada", [replace(asked, options={})], wait_inputs=True)


def test_a_shape_that_follows_a_picture_is_judged_again(
    little: Submissions, ledger: Ledger, settings: Settings, store: Store, serve: Serve, woken: Woken
) -> None:
    """The picture's aspect makes another size of about the same area: here at once, or in intake."""
    model = catalog.get(MODEL)
    unseen, there = (catalog.size_for(model, "480p", aspect) for aspect in (1.0, 1.5))
    assert there[0] * there[1] > unseen[0] * unseen[1]
    smallest = plan.MemoryPlan(plan.Where.STREAMED, tiled=True)
    needs = [plan.needs(plan.Burden(model, *size, 17), smallest).device_bytes / plan.USABLE for size in (unseen, there)]
    telling(ledger, "w1", sum(needs) / 2)
    home = settings.model_copy(
        update={"intake": settings.intake.model_copy(update={"allow_networks": ("127.0.0.0/8",)})}
    )
    submissions = Submissions(home, ledger, store, woken)
    asked = Draft("x", model=MODEL, resolution="480p", inputs={"image": Source(url=serve(page(png(96, 64))).url())})
    with pytest.raises(InvalidRequest, match=f"{there[0]}x{there[1]} with 17 frames needs"):
        submissions.submit("ada", [asked], wait_inputs=True)
    (admitted,) = submissions.submit("ada", [asked], wait_inputs=False)
    claim = ledger.claim(INTAKE_POOL, "io-1")
    assert claim is not None
    TakeIn(home, ledger, store, woken).run(claim)
    job = ledger.find(admitted.id)
    assert isinstance(job, Job)
    assert (job.state, job.error_code) == (State.FAILED, "does_not_fit")
    assert "what fits is" in (job.error_message or "")


@pytest.mark.parametrize(("size", "seconds"), [("1792x1024", "12"), ("720x1280", "4"), (None, "20")])
def test_a_dialect_of_fixed_values_gets_the_nearest_and_is_told(
    little: Submissions, ledger: Ledger, size: str | None, seconds: str
) -> None:
    """OpenAI's clients can ask for nothing else: a refusal would leave them without a video."""
    asked = openai.parse_create({"prompt": "x", "model": T2V, "size": size, "seconds": seconds})
    if size is None:
        asked = replace(asked, width=512, height=512)
    made = little.submit("ada", [asked], wait_inputs=True)[0]
    job = ledger.find(made.id)
    assert job is not None
    spec = job.spec
    burden = plan.Burden(catalog.get(T2V), spec.width, spec.height, spec.frames)
    assert plan.choose(burden, plan.Room(LITTLE)) is not None
    told = openai.render_status(report_of(job, str))
    assert "nearest" in told["warnings"][0]
    assert (told["size"], str(int(told["seconds"]))) == (f"{spec.width}x{spec.height}", told["seconds"])
    assert little.submit("ada", [replace(asked, idempotency_key="k")], wait_inputs=True)
    assert not little.submit("ada", [replace(asked, idempotency_key="k")], wait_inputs=True)[0].created
    with pytest.raises(InvalidRequest):
        little.submit("ada", [replace(asked, nearest=False)], wait_inputs=True)
