"""Fetching weights with the real hub client from a hub on this machine: pinned, whole, resumed, never a pickle."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_parts import COMMIT, Hub
from model_parts import T2V

from models import catalog, tiny, weights
from models import hub as fetching
from models.hub import PullProgress
from models.weights import WeightsError

REAL, FOUR_STEP = "wan2.2-t2v-a14b", "wan2.2-t2v-a14b-4step"
PINNED = catalog.get(REAL).weights.revision


@pytest.fixture
def hub(tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has T2V-A14B's repository, with tiny files in it and some that nobody should fetch."""
    hub = Hub()
    folder = tiny.ensure(models_dir, T2V)
    files = {name: (folder / name).read_bytes() for name in weights.hashes(folder)}
    repo = catalog.get(REAL).weights.repo or ""
    hub.repos[repo] = {**files, "README.md": b"# Wan", "old.bin": b"pickle", "demo.mp4": b"film"}
    tiny.lora_file(tmp_path / "lora.safetensors", seed=1)
    loras = catalog.get(FOUR_STEP).loras
    data = (tmp_path / "lora.safetensors").read_bytes()
    hub.repos[loras[0].repo or ""] = {**{lora.file or "": data for lora in loras}, "other.safetensors": b"x"}
    for module in ("huggingface_hub.constants", "huggingface_hub.hf_api", "huggingface_hub.file_download"):
        monkeypatch.setattr(f"{module}.ENDPOINT", hub.url, raising=False)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    yield hub
    hub.close()


def pull(model_id: str, models_dir: Path, revision: str | None = None, tell: Any = lambda _: None) -> Path:
    return fetching.pull(catalog.get(model_id), models_dir, revision, tell)


def test_pull_fetches_what_is_needed_and_locks_the_commit(hub: Hub, tmp_path: Path) -> None:
    told: list[PullProgress] = []
    folder = pull(REAL, tmp_path, tell=told.append)
    assert folder == tmp_path / REAL
    assert weights.revision_of(folder) == PINNED
    assert weights.verify(folder) == []
    assert not (folder / "old.bin").exists()
    assert not (folder / "demo.mp4").exists()
    assert told[-1].done_bytes == told[-1].total_bytes > 0
    files = [line for line in hub.asked if "/resolve/" in line]
    assert all(f"/resolve/{PINNED}/" in line for line in files)  # never a branch, which may move
    hub.asked.clear()
    pull(REAL, tmp_path, tell=told.append)
    assert not [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line]


def test_pull_goes_on_where_it_broke_off(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)  # tiny files, tiny pieces
    name = "transformer/diffusion_pytorch_model.safetensors"
    hub.breaks[name] = 50_000
    folder = pull(REAL, tmp_path)
    assert weights.verify(folder) == []
    assert [line for line in hub.asked if line.endswith(f"{name} bytes=50000-")]


def test_a_few_step_model_brings_its_base(hub: Hub, tmp_path: Path) -> None:
    folder = pull(FOUR_STEP, tmp_path)
    assert weights.verify(folder) == []
    assert weights.verify(tmp_path / REAL) == []
    assert {"high.safetensors", "low.safetensors"} <= {path.name for path in folder.iterdir()}
    assert not (folder / "other.safetensors").exists()
    pull(FOUR_STEP, tmp_path)
    assert weights.verify(folder) == []


def test_a_revision_that_is_not_there_and_a_changed_file(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no revision 'v9'"):
        pull(REAL, tmp_path, "v9")
    folder = pull(REAL, tmp_path, COMMIT)
    config = folder / "transformer" / "config.json"
    config.write_text(config.read_text() + " ")
    assert any("content has changed" in problem for problem in weights.verify(folder))
    hub.repos.clear()
    with pytest.raises(WeightsError, match="no repository"):
        pull(REAL, tmp_path / "other")
