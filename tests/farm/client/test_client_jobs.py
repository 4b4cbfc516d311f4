"""The client against a gateway that listens, on real parts."""

import io
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from farm.batches.manifest import NDJSON
from farm.client import Client, Shot, UnexpectedAnswer
from farm.embedded import samples
from farm.jobs.errors import Conflict, FarmError, Forbidden, InvalidRequest, NotFound, Unauthorized
from farm.jobs.job import Claim
from farm.jobs.states import State
from models.catalog import ROLES
from tests.api.api_parts import TINY
from tests.farm.client.conftest import VIDEO, Gateway
from tests.models.model_parts import film

Claimed = Callable[[], Claim]


def test_a_job_is_created_as_asked(farm: Client) -> None:
    deadline = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    job = farm.jobs.create(
        "a fox", model=TINY, frames=33, seed=5, name="fox", metadata={"shot": "12"}, deadline=deadline, label="b"
    )
    assert (job.state, job.prompt, job.frames, job.seed) == (State.QUEUED, "a fox", 33, 5)
    assert (job.name, job.metadata, job.deadline, job.label) == ("fox", {"shot": "12"}, deadline, "b")
    assert farm.jobs.get(job.id) == job


def test_pictures_come_as_bytes_files_and_uploads(farm: Client, tmp_path: Path) -> None:
    data = samples.picture()
    (tmp_path / "lake.jpg").write_bytes(data)
    upload = farm.uploads.put(data)
    jobs = [farm.jobs.create("x", model=TINY, image=image) for image in (data, tmp_path / "lake.jpg", upload)]
    assert {job.task for job in jobs} == {"i2v"}
    assert len({job.inputs["image"].sha256 for job in jobs}) == 1


def test_a_text_is_a_file_or_an_address(farm: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lake.jpg").write_bytes(samples.picture())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    jobs = [
        farm.jobs.create("x", model=TINY, image=image) for image in ("lake.jpg", "~/lake.jpg", f"{tmp_path}/lake.jpg")
    ]
    assert len({job.inputs["image"].sha256 for job in jobs}) == 1
    assert farm.uploads.put("lake.jpg").id
    with pytest.raises(InvalidRequest, match=r"no file 'river.jpg', and it is no http\(s\) address") as caught:
        farm.jobs.create("x", model=TINY, image="river.jpg")
    assert caught.value.field == "image"
    # an address is the farm's to fetch: it says that this one is forbidden
    with pytest.raises(FarmError, match="not public"):
        farm.jobs.create("x", model=TINY, image="http://127.0.0.1:9/lake.jpg")


@pytest.mark.parametrize("key", ["höhle-7", "shot 🦊", "shot\n7"])
def test_a_key_that_a_header_cannot_hold_is_explained(farm: Client, key: str) -> None:
    with pytest.raises(InvalidRequest, match="printable ASCII only: leave out accents") as caught:
        farm.jobs.create("x", model=TINY, idempotency_key=key)
    assert caught.value.field == "idempotency_key"


def test_a_large_picture_goes_by_an_upload_of_its_own(farm: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.client.client.INLINE_BYTES", 1000)
    assert farm.jobs.create("x", model=TINY, image=samples.picture()).inputs["image"].sha256


def test_every_pipeline_is_asked_for_with_its_own_inputs(
    farm: Client, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Animate, its other mode, and VACE: a clip, which goes by an upload, beside pictures."""
    monkeypatch.setattr("farm.client.client.INLINE_BYTES", 1000)
    clip, lake = film(tmp_path / "dance.mp4", 12, 25), samples.picture()
    animate, vace = "wan2.2-animate-14b-tiny", "wan2.2-vace-fun-a14b-tiny"
    gateway.hand.offer(animate, vace)
    jobs = [
        farm.jobs.create("she dances", model=animate, image=lake, video=clip),
        farm.jobs.create("she dances", model=animate, task="replace", image=lake, video=clip),
        farm.jobs.create("in snow", model=vace, video=clip, mask=lake, image=lake, frames=5),
        farm.jobs.create("in snow", model=vace, image=lake, image_2=lake),
    ]
    assert [(job.task, sorted(job.inputs)) for job in jobs] == [
        ("animate", ["image", "video"]),
        ("replace", ["image", "video"]),
        ("vace", ["image", "mask", "video"]),
        ("r2v", ["image", "image_2"]),
    ]
    assert set(ROLES) <= set(Shot.__annotations__)


def test_a_line_ends_at_its_line_feed_alone(farm: Client) -> None:
    """Also where a prompt has marks at which Python's splitlines would end one."""
    words = "a\u2028fox\x85in\u2029snow"
    job = farm.jobs.create(words, model=TINY, label=words)
    for event in farm.jobs.events(job.id):
        assert event.data["prompt"] == words
        break
    batch = farm.batches.create(io.BytesIO(json.dumps({"prompt": "a fox", "name": words}).encode()), media=NDJSON)
    assert [one["name"] for one in farm.batches.results(batch.id)] == [words]


def test_one_key_is_one_job(farm: Client) -> None:
    first, again = (farm.jobs.create("a fox", model=TINY, seed=1, idempotency_key="shot-12") for _ in range(2))
    assert first.id == again.id
    # keys that nobody chose are all different
    assert farm.jobs.create("a fox", model=TINY, seed=1).id != first.id
    with pytest.raises(Conflict):
        farm.jobs.create("a dog", model=TINY, seed=1, idempotency_key="shot-12")


def test_errors_are_types_and_name_the_field(farm: Client, gateway: Gateway) -> None:
    with pytest.raises(InvalidRequest) as caught:
        farm.jobs.create("a fox", model=TINY, frames=18)
    assert caught.value.field == "frames"
    assert "17 or 21" in caught.value.detail
    with pytest.raises(NotFound):
        farm.jobs.get("01890000-0000-7000-8000-000000000000")
    with pytest.raises(NotFound):
        farm.jobs.get("../v1/models")
    with pytest.raises(Unauthorized), Client(gateway.url, "wf_live_nobody") as stranger:
        stranger.models()
    with pytest.raises(Forbidden):
        farm.workers()


def test_lists_run_over_pages_and_filters(farm: Client, gateway: Gateway) -> None:
    made = [farm.jobs.create(f"shot {n}", model=TINY, label="a" if n % 2 else "b") for n in range(7)]
    newest_first = [job.id for job in reversed(made)]
    assert [job.id for job in farm.jobs.list(page=3)] == newest_first
    assert [job.id for job in islice(farm.jobs.list(page=2), 3)] == newest_first[:3]
    assert [job.label for job in farm.jobs.list(label="a")] == ["a"] * 3
    farm.jobs.cancel(made[0].id)
    assert [job.id for job in farm.jobs.list(state="cancelled")] == [made[0].id]
    assert [job.id for job in farm.jobs.list(state=["cancelled", "queued"], page=2)] == newest_first
    with gateway.client("another") as other:
        assert list(other.jobs.list()) == []


def test_a_cancel_ends_a_job_once(farm: Client, gateway: Gateway, claimed: Claimed) -> None:
    queued = farm.jobs.create("a fox", model=TINY)
    assert farm.jobs.cancel(queued.id).state is State.CANCELLED
    done = farm.jobs.create("a fox", model=TINY)
    gateway.commit(claimed())
    with pytest.raises(Conflict):
        farm.jobs.cancel(done.id)


def test_waiting_ends_with_the_job(farm: Client, gateway: Gateway, claimed: Claimed) -> None:
    job = farm.jobs.create("a fox", model=TINY)
    with pytest.raises(TimeoutError, match="queued"):
        farm.jobs.wait(job.id, timeout_s=0.1)
    seen = []
    worker = threading.Thread(target=lambda: gateway.commit(claimed()))

    def on_change(now: object) -> None:
        seen.append(now)
        if len(seen) == 1:
            worker.start()

    done = farm.jobs.wait(job.id, timeout_s=30, on_change=on_change)
    worker.join()
    assert done.state is State.SUCCEEDED
    assert seen[-1] == done


def test_events_tell_a_job_from_beginning_to_end(farm: Client, gateway: Gateway, claimed: Claimed) -> None:
    job = farm.jobs.create("a fox", model=TINY)
    events = farm.jobs.events(job.id)
    first = next(events)
    assert (first.kind, first.job, first.data["state"]) == ("snapshot", job.id, "queued")
    claim = claimed()
    gateway.hand.progress(claim, 1, 4)
    gateway.commit(claim)
    rest = list(events)
    assert {event.job for event in rest} == {job.id}
    assert [event.data["state"] for event in rest if event.kind == "state"][-1] == "succeeded"
    assert any(event.data.get("step") == 1 for event in rest)
    # from the first on: everything else again, nothing twice
    assert [event.id for event in farm.jobs.events(job.id, after=first.id)] == [event.id for event in rest]
    assert list(farm.jobs.events(job.id, after=rest[-1].id)) == []


def test_all_events_are_told_until_told_to_stop(farm: Client) -> None:
    events = farm.jobs.events()
    assert next(events).kind == "ready"
    job = farm.jobs.create("a fox", model=TINY)
    assert next(events).job == job.id
    events.close()


def test_a_result_is_downloaded_and_checked(farm: Client, gateway: Gateway, claimed: Claimed, tmp_path: Path) -> None:
    job = farm.jobs.create("a fox", model=TINY)
    with pytest.raises(Conflict, match="nothing to download"):
        farm.jobs.download(job, tmp_path)
    gateway.commit(claimed())
    files = farm.jobs.download(job, tmp_path / "out", stem="fox")
    assert files.video.read_bytes() == VIDEO
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["fox.jpg", "fox.json", "fox.mp4"]
    assert farm.jobs.download(job.id, tmp_path).video == tmp_path / f"{job.id}.mp4"


def test_a_video_that_is_not_what_was_committed_is_not_kept(
    farm: Client, gateway: Gateway, claimed: Claimed, tmp_path: Path
) -> None:
    job = farm.jobs.create("a fox", model=TINY)
    gateway.commit(claimed(), sha256="0" * 64)
    with pytest.raises(UnexpectedAnswer, match="sha256"):
        farm.jobs.download(job, tmp_path, stem="fox")
    assert not (tmp_path / "fox.mp4").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_models_workers_and_health(farm: Client, gateway: Gateway) -> None:
    assert {model.id for model in farm.models() if model.available} == {TINY}
    with gateway.client("ops", role="operator") as operator:
        assert [worker.worker for worker in operator.workers()] == ["hand"]
    gateway.parts.ledger.reap()  # as somebody does all the time
    assert farm.health().status == "ok"
    gateway.parts.ledger.worker_gone("hand", "default")
    # the gateway remembers an answer for a moment
    assert farm.health().status in ("ok", "accepting", "unready")
