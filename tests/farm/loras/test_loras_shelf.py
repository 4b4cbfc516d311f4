"""A tenant's LoRAs, on a real store and a real Redis: what may become one, whose it is, how much there may be, and when
it goes."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from redis import Redis

from farm.claiming.permits import Permits
from farm.config import LoraSettings, Settings
from farm.io_worker.housekeeping import Housekeeping
from farm.jobs.draft import Draft
from farm.jobs.errors import Conflict, Forbidden, InvalidRequest, NotFound, RequestError, TooLarge, TooMany
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger
from farm.loras.garbage import GRACE_S, ORPHAN_S, LoraGarbage
from farm.loras.lora import StoredLora
from farm.loras.loras import TenantLoras
from farm.loras.records import Records
from farm.scheduling.memory_fit import needs_of
from farm.scheduling.pools import Pools
from farm.storage.object_keys import lora_key, upload_key
from farm.storage.store import Store
from farm.submission.submit import Submissions
from models.catalog import MODELS
from models.planning import plan
from models.weights import lora_file
from tests.farm.submit.submit_parts import Woken
from tests.lora_files import WIDE, lora_bytes, pair, saved

T2V, TI2V = "wan2.2-t2v-a14b-tiny", "wan2.2-ti2v-5b-tiny"
FP8 = "wan2.2-t2v-a14b-fp8-tiny"


class Clock:
    now_s = 1_900_000_000.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.s3)


def empty(store: Store) -> None:
    for prefix in ("loras/", "uploads/"):
        store.delete_prefix(prefix)


@pytest.fixture
def loras(redis: Redis, store: Store, settings: Settings, clock: Clock) -> Iterator[TenantLoras]:
    # other rooms' tests leave theirs in the bucket
    empty(store)
    yield TenantLoras(redis, store, settings, clock_s=lambda: clock.now_s)
    empty(store)


@pytest.fixture
def ledger(redis: Redis, settings: Settings) -> Ledger:
    ledger = Ledger(redis, settings)
    ledger.worker_seen("w1", "default", WorkerStatus(models=(T2V, TI2V, FP8)), ttl_s=600)
    return ledger


@pytest.fixture
def garbage(redis: Redis, store: Store, settings: Settings, ledger: Ledger, clock: Clock) -> LoraGarbage:
    return LoraGarbage(Records(redis, settings.redis), store, ledger, clock_s=lambda: clock.now_s)


@pytest.fixture
def submissions(settings: Settings, ledger: Ledger, store: Store, loras: TenantLoras) -> Submissions:
    return Submissions(settings, ledger, store, Woken(), loras=loras)


Put = Callable[..., StoredLora]


@pytest.fixture
def put(loras: TenantLoras, store: Store) -> Put:
    """put("name", data, tenant="ada"): uploaded and added."""
    uploads = iter(range(1000))

    def add(name: str, data: bytes, tenant: str = "ada", **more: Any) -> StoredLora:
        upload = f"up-{next(uploads)}"
        store.put_bytes(upload_key(tenant, upload), data, "application/octet-stream")
        return loras.add(tenant, name, upload, **more)[0]

    return add


def kept(store: Store) -> list[str]:
    return [one.key for one in store.list("loras/")]


def wearing(*worn: dict[str, Any], model: str = T2V, **more: Any) -> Draft:
    return Draft("a fox", model=model, loras=worn, **more)


def test_what_was_judged_is_what_is_kept(put: Put, loras: TenantLoras, store: Store) -> None:
    data = lora_bytes(seed=1)
    lora = put("fox", data, sha256=hashlib.sha256(data).hexdigest())
    assert (lora.name, lora.rank, lora.modules, lora.size) == ("fox", 2, 2, len(data))
    assert store.get_bytes(lora_key("ada", lora.id), 1_000_000) == data
    assert hashlib.sha256(data).hexdigest() == lora.sha256
    assert loras.find("ada", "fox") == loras.find("ada", lora.id) == lora
    # the upload is used up, and saying it again finds the first
    assert store.stat(upload_key("ada", lora.upload)) is None
    assert loras.add("ada", "fox", lora.upload) == (lora, False)
    assert T2V in lora.fits
    assert TI2V not in lora.fits


def test_a_large_file_goes_through_in_parts(put: Put, store: Store) -> None:
    """Above the size of one part, so in several; with the last of its numbers spoilt, none of them is left."""
    wide = {"blocks.0.ffn.0.lora_down.weight": np.zeros((300, 5120), "float32")}
    wide |= {"blocks.0.ffn.0.lora_up.weight": np.zeros((13824, 300), "float32")}
    lora = put("large", saved(wide))
    stat = store.stat(lora_key("ada", lora.id))
    assert stat is not None
    assert stat.size == lora.size > 16 * 1024 * 1024
    wide["blocks.0.ffn.0.lora_up.weight"][-1, -1] = np.nan
    before = kept(store)
    with pytest.raises(InvalidRequest, match="not finite"):
        put("spoilt", saved(wide))
    assert kept(store) == before


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\x80\x02}q\x00.", "too short"),
        (b"PK\x03\x04" + bytes(300), "a zip or PyTorch file"),
        (b"\x80\x04" + bytes(300), "a pickle"),
        (lora_bytes(wide=25), "25 wide"),
        (lora_bytes()[:-4], "the header lies"),
        (saved({"text_model.x": np.zeros(2, "float32")}), "text encoder"),
    ],
)
def test_what_is_no_lora_leaves_nothing(put: Put, loras: TenantLoras, store: Store, data: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        put("fox", data)
    assert caught.value.field == "upload"
    assert kept(store) == []
    assert list(loras.all("ada")) == []


def test_refusals_name_what_to_change(put: Put, loras: TenantLoras, store: Store) -> None:
    fox = put("fox", lora_bytes(seed=1))
    cases: list[tuple[type[RequestError], str, Callable[[], object]]] = [
        (Conflict, "already; delete it", lambda: put("fox", lora_bytes(seed=2))),
        (Conflict, "here already: fox", lambda: put("wolf", lora_bytes(seed=1))),
        (InvalidRequest, "name", lambda: put("a:b", lora_bytes(seed=2))),
        (InvalidRequest, "name", lambda: put(fox.id, lora_bytes(seed=2))),
        (InvalidRequest, "what arrived is not", lambda: put("wolf", lora_bytes(seed=2), sha256="ab" * 32)),
        (InvalidRequest, "no such upload", lambda: loras.add("ada", "wolf", "../../inputs/x")),
        (InvalidRequest, "no such upload", lambda: loras.add("bob", "wolf", "up-0")),
        (NotFound, "no LoRA", lambda: loras.delete("bob", "fox")),
        (NotFound, "no LoRA", lambda: loras.delete("bob", fox.id)),
    ]
    for kind, says, act in cases:
        with pytest.raises(kind, match=says):
            act()
    # another tenant's names and files are its own
    assert put("fox", lora_bytes(seed=1), tenant="bob").id != fox.id
    assert len(kept(store)) == 2


def test_a_tenants_room_is_bounded(
    put: Put, loras: TenantLoras, redis: Redis, store: Store, settings: Settings
) -> None:
    one = len(lora_bytes())

    def limited(**limits: int) -> None:
        loras._limits = LoraSettings(**limits)

    limited(max_bytes=one - 1)
    with pytest.raises(TooLarge, match="that a LoRA may have"):
        put("a", lora_bytes())
    limited(max_count=1)
    put("a", lora_bytes(seed=1))
    with pytest.raises(Forbidden, match="no more than 1"):
        put("b", lora_bytes(seed=2))
    limited(max_total_bytes=2 * one - 1)
    with pytest.raises(Forbidden, match="delete some"):
        put("b", lora_bytes(seed=2))
    # what was deleted counts until its bytes are gone
    loras.delete("ada", "a")
    with pytest.raises(Forbidden, match="delete some"):
        put("b", lora_bytes(seed=2))
    limited(max_total_bytes=2 * one)
    put("b", lora_bytes(seed=2))
    assert len(kept(store)) == 2


def test_two_calls_at_once_make_one_lora(loras: TenantLoras, store: Store) -> None:
    """Both pass the first look; the record is written by one of them, and the other's bytes go."""
    ended: list[object] = []
    both = threading.Barrier(2)
    real = loras._made
    loras._made = lambda *given: (both.wait(90), real(*given))[1]  # type: ignore[method-assign]

    # rclone may answer 500 while two first files of a folder come at once
    for seed in (1, 2):
        store.put_bytes(upload_key("ada", f"fox-{seed}"), lora_bytes(seed=seed), "application/octet-stream")

    def add(seed: int) -> None:
        try:
            ended.append(loras.add("ada", "fox", f"fox-{seed}")[0])
        except Conflict as error:
            ended.append(error)

    threads = [threading.Thread(target=add, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(one).__name__ for one in ended) == ["Conflict", "StoredLora"]
    assert kept(store) == [lora_key("ada", one.id) for one in loras.all("ada")]


def test_few_are_looked_at_at_once(put: Put, loras: TenantLoras, settings: Settings) -> None:
    for _ in range(settings.loras.checks):
        assert loras._checks.acquire(blocking=False)
    with pytest.raises(TooMany) as caught:
        put("fox", lora_bytes())
    assert caught.value.retry_after_s > 0
    loras._checks.release()
    put("fox", lora_bytes())


# --- a job wears them


def test_a_job_wears_a_lora_and_its_lane_says_so(put: Put, submissions: Submissions, ledger: Ledger) -> None:
    fox, ink = put("fox", lora_bytes(seed=1)), put("ink", lora_bytes(seed=2))
    asked = ({"lora": "ink", "scale": 0.5, "expert": "low"}, {"lora": fox.id})
    made = [
        ledger.find(submissions.submit("ada", [wearing(*worn)], wait_inputs=True)[0].id)
        for worn in (asked, asked[::-1], asked[:1], ())
    ]
    specs = [job.spec.loras for job in made if job]
    lanes = [job.lane for job in made if job]
    told = {one["name"]: (one["sha256"], one["scale"], one["expert"]) for one in specs[0]}
    assert told == {"fox": (fox.sha256, 1.0, "both"), "ink": (ink.sha256, 0.5, "low")}
    # the order that they were named in changes neither the lane nor how they are worn
    assert specs[0] == specs[1]
    assert lanes[0] == lanes[1]
    assert lanes[2] == f"{MODELS[T2V].lane}+{ink.sha256[:16]}:low:0.5"
    assert lanes[3] == MODELS[T2V].lane
    assert len(set(lanes)) == 3


def test_what_cannot_be_worn_is_refused_by_name(put: Put, submissions: Submissions, redis: Redis) -> None:
    put("fox", lora_bytes(seed=1))
    put("wide", lora_bytes(seed=1, wide=WIDE))
    put("theirs", lora_bytes(seed=2), tenant="bob")
    put("real", saved(pair(wide=5120)))
    cases: list[tuple[str, str, Draft]] = [
        ("loras.0.lora", "you have no LoRA 'theirs'", wearing({"lora": "theirs"})),
        ("loras.1.lora", "you have no LoRA 'wolf'", wearing({"lora": "fox"}, {"lora": "wolf"})),
        ("loras.0.lora", f"not made for {T2V}; it fits wan2.2-t2v-a14b, ", wearing({"lora": "real"})),
        ("loras.0.lora", "the name or id", wearing({"scale": 1.0})),
        ("loras.0.scale", "between -10 and 10", wearing({"lora": "fox", "scale": float("nan")})),
        ("loras.0.scale", "between -10 and 10", wearing({"lora": "fox", "scale": 11})),
        ("loras.0.scale", "between -10 and 10", wearing({"lora": "fox", "scale": "1"})),
        ("loras.0.expert", "one of both, high, low", wearing({"lora": "fox", "expert": "middle"})),
        ("loras.0.expert", "has one expert", wearing({"lora": "wide", "expert": "low"}, model=TI2V)),
        ("loras.0.weight", "known are expert, lora, scale", wearing({"lora": "fox", "weight": 1})),
        ("loras", "at most 4", wearing(*[{"lora": "fox"}] * 5)),
        ("loras", "twice for the same expert", wearing({"lora": "fox"}, {"lora": "fox", "expert": "high"})),
        ("loras", "8 bits; wan2.2-t2v-a14b-tiny does", wearing({"lora": "fox"}, model=FP8)),
        ("theirs.0.lora", "no LoRA", wearing({"lora": "wolf"}, field_names={"loras": "theirs"})),
    ]
    for field, says, draft in cases:
        with pytest.raises(InvalidRequest) as caught:
            submissions.submit("ada", [draft], wait_inputs=True)
        assert (caught.value.field, says in caught.value.detail) == (field, True), caught.value
    assert list(redis.scan_iter("wf:job:*")) == []


def test_one_expert_is_one_lane_however_it_is_said(put: Put, submissions: Submissions, ledger: Ledger) -> None:
    put("fox", lora_bytes(seed=1, wide=WIDE))
    drafts = [wearing({"lora": "fox", "expert": expert, "scale": 1}, model=TI2V) for expert in ("both", "high", None)]
    jobs = [ledger.find(one.id) for one in submissions.submit("ada", drafts, wait_inputs=True)]
    assert len({job.lane for job in jobs if job}) == 1


# --- and when it goes


def test_a_deleted_lora_outlives_the_jobs_that_wear_it(
    put: Put,
    loras: TenantLoras,
    garbage: LoraGarbage,
    store: Store,
    submissions: Submissions,
    ledger: Ledger,
    clock: Clock,
) -> None:
    fox = put("fox", lora_bytes(seed=1))
    job = submissions.submit("ada", [wearing({"lora": "fox"})], wait_inputs=True)[0].id
    loras.delete("ada", "fox")
    assert loras.find("ada", "fox") is loras.find("ada", fox.id) is None
    with pytest.raises(InvalidRequest, match="no LoRA"):
        submissions.submit("ada", [wearing({"lora": "fox"})], wait_inputs=True)
    with pytest.raises(NotFound):
        loras.delete("ada", "fox")
    # its name is free at once
    put("fox", lora_bytes(seed=2))
    clock.now_s += GRACE_S + 1
    assert garbage.sweep() == 0
    assert store.stat(lora_key("ada", fox.id))
    ledger.cancel("ada", job)
    assert garbage.sweep() == 1
    assert store.stat(lora_key("ada", fox.id)) is None
    assert [one.name for one in loras.all("ada")] == ["fox"]
    assert garbage.sweep() == 0


def test_a_lora_deleted_while_a_job_is_being_submitted(
    put: Put,
    loras: TenantLoras,
    garbage: LoraGarbage,
    store: Store,
    submissions: Submissions,
    ledger: Ledger,
    clock: Clock,
) -> None:
    """The job found it, then it was deleted and swept, then the job was admitted: it still has what it wears."""
    fox = put("fox", lora_bytes(seed=1))
    admit = ledger.admit

    def late(jobs: Any) -> Any:
        loras.delete("ada", "fox")
        assert garbage.sweep() == 0
        return admit(jobs)

    ledger.admit = late  # type: ignore[method-assign]
    job = submissions.submit("ada", [wearing({"lora": "fox"})], wait_inputs=True)[0].id
    clock.now_s += GRACE_S + 1
    assert garbage.sweep() == 0
    found = ledger.find(job)
    assert found is not None
    assert found.state is State.QUEUED
    assert store.stat(found.spec.loras[0]["key"])
    assert found.spec.loras[0]["id"] == fox.id


def test_the_house_is_kept_in_order_of_them_too(
    put: Put, loras: TenantLoras, store: Store, ledger: Ledger, settings: Settings, clock: Clock
) -> None:
    fox = put("fox", lora_bytes(seed=1))
    clock.now_s = 0.0
    loras.delete("ada", "fox")
    Housekeeping(settings, ledger, store, Permits(settings)).sweep()
    assert store.stat(lora_key("ada", fox.id)) is None


def test_bytes_without_a_record_go_after_a_day(
    put: Put, loras: TenantLoras, garbage: LoraGarbage, store: Store, ledger: Ledger, clock: Clock
) -> None:
    fox = put("fox", lora_bytes(seed=1))
    store.put_bytes(lora_key("ada", "broken-off"), b"x", "application/octet-stream")
    modified_s = store.list("loras/")[0].modified_s
    clock.now_s = modified_s + ORPHAN_S - 10
    assert garbage.sweep() == 0
    clock.now_s = modified_s + ORPHAN_S + 10
    assert garbage.sweep() == 1
    assert kept(store) == [lora_key("ada", fox.id)]


def test_records_are_what_they_were(
    put: Put, loras: TenantLoras, redis: Redis, store: Store, settings: Settings
) -> None:
    fox = put("fox", lora_bytes(seed=1))
    assert list(TenantLoras(redis, store, settings).all("ada")) == [fox]
    assert lora_file.fitting({"blocks.0.self_attn.q": (96, 96)}) == fox.fits


def test_what_is_worn_counts_where_memory_is_asked_for(
    submissions: Submissions, ledger: Ledger, put: Put, redis: Redis
) -> None:
    """At the door, in the needs that travel with the job, and so at every claim."""
    layers = [f"{part}.{name}" for part in ("self_attn", "cross_attn") for name in "qkvo"]
    # needs are whole megabytes: as much of the tiny model as a LoRA may be
    wide = [pair(f"diffusion_model.blocks.{block}.{layer}", rank=512) for block in (0, 1) for layer in layers]
    size = put("ink", lora_bytes(**{name: tensor for one in wide for name, tensor in one.items()})).size
    asked = Draft("x", model=T2V, width=64, height=64, frames=5)
    burden = plan.Burden(MODELS[T2V], 64, 64, 5)
    bare, worn = needs_of(burden), needs_of(replace(burden, lora_bytes=(size, size)))
    assert bare != worn
    for lora in ((), ({"lora": "ink"},)):
        (admitted,) = submissions.submit("ada", [replace(asked, loras=lora)], wait_inputs=True)
        assert redis.hget(f"wf:job:{admitted.id}", "needs") == (worn if lora else bare)
    # a worker that holds the one and not the other, and on whose machine nothing can wait
    least = plan.needs(burden, plan.MemoryPlan(tiled=True)).device_bytes
    memory = {"device_bytes": least / plan.USABLE + 1e6, "host_bytes": 0, "fp8": False}
    ledger.worker_seen("w1", "default", WorkerStatus(models=(T2V,), memory=memory), ttl_s=600)
    submissions.pools = Pools(submissions._settings, ledger.offers)
    assert submissions.submit("ada", [asked], wait_inputs=True)
    with pytest.raises(InvalidRequest, match=r"its LoRAs, .* without them, it fits"):
        submissions.submit("ada", [replace(asked, loras=({"lora": "ink"},))], wait_inputs=True)
