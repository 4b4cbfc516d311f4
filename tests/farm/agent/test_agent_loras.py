"""A tenant's LoRA on its way to the frames: uploaded, worn by a real engine, taken off again, and never a wrong one."""

import hashlib
import json
from pathlib import Path

import pytest

from farm.agent.lora_cache import LoraCache
from farm.config import Settings
from farm.jobs.draft import Draft
from farm.jobs.errors import JobFault
from farm.jobs.job import Job
from farm.jobs.states import State
from farm.loras.lora import StoredLora
from farm.loras.loras import TenantLoras
from farm.storage.object_keys import lora_key, upload_key
from farm.storage.store import Store
from farm.submission.submit import Submissions
from models.catalog import MODELS
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import TENANT, AgentFarm, AgentProcess
from tests.lora_files import WIDE, lora_bytes

pytestmark = pytest.mark.xdist_group("e2e-real")
MODEL = "wan2.2-ti2v-5b-tiny"


@pytest.fixture(scope="module")
def loras(real: AgentFarm) -> TenantLoras:
    return TenantLoras(real.ledger._redis, real.store, real.settings)


@pytest.fixture(scope="module")
def fox(real: AgentFarm, loras: TenantLoras) -> StoredLora:
    real.store.put_bytes(upload_key(TENANT, "up"), lora_bytes(seed=1, wide=WIDE), "application/octet-stream")
    return loras.add(TENANT, "fox", "up")[0]


def render(farm: AgentFarm, loras: TenantLoras, *worn: dict[str, object]) -> tuple[Job, dict[str, object]]:
    """The job as it ended, and its recipe; empty when there is none."""
    submissions = Submissions(farm.settings, farm.ledger, farm.store, farm.permits, loras=loras)
    draft = Draft("a fox", model=MODEL, width=64, height=64, frames=5, steps=2, seed=7, loras=worn, max_attempts=1)
    job = farm.wait_over(submissions.submit(TENANT, [draft], wait_inputs=True)[0].id)
    recipe = json.loads(farm.store.get_bytes(job.artifacts.recipe, 100_000)) if job.artifacts else {}
    return job, recipe


def test_it_is_in_the_frames_and_only_where_it_was_asked_for(
    real: AgentFarm, real_agent: AgentProcess, loras: TenantLoras, fox: StoredLora
) -> None:
    _, bare = render(real, loras)
    job, worn = render(real, loras, {"lora": "fox", "scale": 0.8})
    # the lane that admission called it by is the one that the engine says it wears
    assert job.lane == f"{MODELS[MODEL].lane}+{fox.sha256[:16]}:both:0.8"
    wait_until(lambda: real_agent.facts().get("lane") == job.lane, what="the lane to be told")
    _, again = render(real, loras)
    frames = [recipe["frames_sha256"] for recipe in (bare, worn, again)]
    assert frames[0] == frames[2] != frames[1]
    assert worn["loras"] == [{"name": "fox", "sha256": fox.sha256, "expert": "both", "scale": 0.8}]
    # predictions go by the model's own lane, whatever its jobs wear
    assert set(real.ledger.speeds("default")) == {MODELS[MODEL].lane}

    # bytes that are not those that were judged make no picture, wherever they were changed
    cached = real.settings.state_dir / "loras" / fox.sha256
    cached.write_bytes(lora_bytes(seed=2, wide=WIDE))
    _, mended = render(real, loras, {"lora": "fox", "scale": 0.8})
    assert mended["frames_sha256"] == worn["frames_sha256"]
    cached.unlink()
    real.store.put_bytes(lora_key(TENANT, fox.id), lora_bytes(seed=2, wide=WIDE), "application/octet-stream")
    spoilt, _ = render(real, loras, {"lora": "fox"})
    assert (spoilt.state, spoilt.error_code) == (State.FAILED, "storage_failed")
    assert "fox is not what was judged" in (spoilt.error_message or "")
    assert real.objects(spoilt.id) == []
    assert not cached.exists()
    real.store.delete(lora_key(TENANT, fox.id))
    gone, _ = render(real, loras, {"lora": "fox"})
    assert (gone.error_code, gone.error_message) == ("input_unreachable", "the LoRA fox is gone")


# --- the files on a worker's disk


@pytest.fixture
def worn(settings: Settings) -> dict[str, object]:
    data, key = lora_bytes(seed=3), lora_key("ada", "one")
    Store(settings.s3).put_bytes(key, data, "application/octet-stream")

    sha256 = hashlib.sha256(data).hexdigest()
    return {"id": "one", "name": "fox", "sha256": sha256, "key": key, "size": len(data), "expert": "both", "scale": 1.0}


def test_agents_share_one_copy_and_an_attempt_keeps_its_own(
    settings: Settings, worn: dict[str, object], tmp_path: Path
) -> None:
    store, size = Store(settings.s3), int(str(worn["size"]))
    caches = [LoraCache(tmp_path / "kept", store, 2 * size) for _ in range(2)]
    files = []
    for number, cache in enumerate(caches):
        inbox = tmp_path / str(number)
        inbox.mkdir()
        files.append(Path(cache.bring(worn, inbox).path))
        # the second one needs no store
        store.delete(str(worn["key"]))
    assert len({file.stat().st_ino for file in files}) == 1
    # two more are brought: the oldest makes room, but the attempts that wear it still have it
    for number in (4, 5):
        data = lora_bytes(seed=number)
        key = lora_key("ada", str(number))
        store.put_bytes(key, data, "application/octet-stream")

        other = {**worn, "id": str(number), "key": key, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        caches[0].bring(other, tmp_path / "0")
    kept = sorted((tmp_path / "kept").iterdir())
    assert len(kept) == 2
    assert str(worn["sha256"]) not in [path.name for path in kept]
    assert all(file.read_bytes() == lora_bytes(seed=3) for file in files)


def test_a_disk_without_links_gets_copies(
    settings: Settings, worn: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", no_links)
    made = LoraCache(tmp_path / "kept", Store(settings.s3), 10**9).bring(worn, tmp_path)
    assert Path(made.path).read_bytes() == lora_bytes(seed=3)


def test_a_download_that_is_not_the_file_is_not_kept(
    settings: Settings, worn: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(JobFault, match="not what was judged"):
        LoraCache(tmp_path / "kept", Store(settings.s3), 10**9).bring({**worn, "sha256": "ab" * 32}, tmp_path)
    assert list((tmp_path / "kept").iterdir()) == []
