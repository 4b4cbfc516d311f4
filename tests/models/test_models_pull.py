"""Fetching weights with the real hub client from a hub on this machine: pinned, whole, resumed, never a pickle."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_parts import COMMIT, Hub
from model_parts import T2V
from onnx_parts import convolution

from farm.cli.weights import row_of
from models import catalog
from models.catalog import networks
from models.planning.request import RenderFault
from models.preprocess import tiny_eyes
from models.preprocess.persons import Box
from models.preprocess.poses import PoseNet
from models.render.renderer import Renderer
from models.weights import hub as fetching
from models.weights import tiny, weights
from models.weights.hub import PullProgress
from models.weights.weights import WeightsError

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


# --- what Animate looks with

_ANIMATE = catalog.get("wan2.2-animate-14b")
_POSE = "process_checkpoint/pose2d/vitpose_h_wholebody.onnx/"


@pytest.fixture
def animate_hub(hub: Hub, models_dir: Path) -> Hub:
    """The repositories that Animate comes from, with what else lies in them."""

    def files(folder: Path) -> dict[str, bytes]:
        return {name: (folder / name).read_bytes() for name in weights.hashes(folder)}

    eyes = tiny_eyes.ensure(models_dir)
    heads = np.random.RandomState(1).randn(133, 3, 4, 4).astype(np.float32)
    hub.repos[_ANIMATE.weights.repo or ""] = files(tiny.ensure(models_dir, f"{_ANIMATE.id}-tiny"))
    hub.repos[networks.PERSON.repo] = {**files(eyes / "person"), "pytorch_model.bin": b"pickle"}
    hub.repos[networks.MASK.repo] = {**files(eyes / "mask"), "sam2.1_hiera_large.pt": b"pickle"}
    hub.repos[networks.POSE.repo] = {
        f"{_POSE}end2end.onnx": convolution(heads, 256, 192, stride=4, beside="keypoint_head.weight"),
        f"{_POSE}keypoint_head.weight": heads.tobytes(),
        "process_checkpoint/pose2d/old.pth": b"pickle",
        "process_checkpoint/det/yolov10m.onnx": b"AGPL",
        "diffusion_pytorch_model-00001-of-00004.safetensors": b"another form of the model",
        "Wan2.1_VAE.pth": b"pickle",
    }
    return hub


def test_animate_brings_what_it_looks_with(animate_hub: Hub, tmp_path: Path) -> None:
    told: list[PullProgress] = []
    pull(_ANIMATE.id, tmp_path, tell=told.append)
    assert list(dict.fromkeys(one.what for one in told)) == [_ANIMATE.id, *networks.NETWORKS]
    for network in networks.NETWORKS.values():
        assert weights.verify(tmp_path / network.id) == []
        assert weights.revision_of(tmp_path / network.id) == network.revision
    fetched = [line.partition("/resolve/")[2] for line in animate_hub.asked if "/resolve/" in line]
    assert any(line.endswith("keypoint_head.weight") for line in fetched)
    assert not [line for line in fetched if any(bad in line for bad in (".pt", ".bin", "det/", "00001-of"))]
    renderer = Renderer(tmp_path, "cpu")
    assert _ANIMATE.id in renderer.offered()
    # Wan's form, a graph whose tensors lie beside it, opens as it was fetched
    folder = tmp_path / networks.POSE.id
    pose = PoseNet(folder, torch.device("cpu")).pose(np.full((64, 64, 3), 90, np.uint8), Box(0, 0, 64, 64, 1.0))
    assert pose.shape == (133, 3)
    (folder / _POSE / "keypoint_head.weight").unlink()
    assert weights.verify(folder) == [f"{_POSE}keypoint_head.weight: missing"]
    with pytest.raises(RenderFault, match=r"end2end.onnx cannot be opened: is every file of it here\?"):
        PoseNet(folder, torch.device("cpu"))


def test_networks_put_there_by_hand_are_left(animate_hub: Hub, tmp_path: Path, models_dir: Path) -> None:
    eyes = tiny_eyes.ensure(models_dir)
    mine = tmp_path / networks.POSE.id
    mine.mkdir(parents=True)
    (mine / "pose.onnx").write_bytes(b"mine")
    fetching.pull_network(networks.POSE, tmp_path, None, lambda _: None)
    assert [path.name for path in mine.iterdir()] == ["pose.onnx"]
    assert fetching.state_of(mine) == "put here by hand"
    assert fetching.state_of(tmp_path / networks.MASK.id) == "not here"
    assert weights.verify(eyes / "person") == []


# --- pins


def test_the_commit_that_was_pulled_is_pulled_again(hub: Hub, tmp_path: Path) -> None:
    repo = catalog.get(REAL).weights.repo or ""
    then, later, latest = hub.repos[repo], "1" * 40, "2" * 40
    hub.history[PINNED or ""] = {repo: then}
    hub.history[later] = {repo: {**then, "tokenizer/added.txt": b"new"}}
    hub.history[latest] = {repo: {name: data for name, data in then.items() if name != "tokenizer/added.txt"}}
    hub.main = later
    folder = pull(REAL, tmp_path)
    assert not (folder / "tokenizer/added.txt").exists()
    pull(REAL, tmp_path, "main")
    assert (weights.revision_of(folder), (folder / "tokenizer/added.txt").read_bytes()) == (later, b"new")
    hub.main = latest
    # neither the catalog's, nor what main is now
    pull(REAL, tmp_path)
    assert weights.revision_of(folder) == later
    pull(REAL, tmp_path, "main")
    assert weights.revision_of(folder) == latest
    assert not (folder / "tokenizer/added.txt").exists()


def test_where_the_catalog_names_no_commit_the_first_pulls_is_kept(hub: Hub, tmp_path: Path) -> None:
    assert catalog.get(FOUR_STEP).loras[0].revision is None
    loras = catalog.get(FOUR_STEP).loras[0].repo or ""
    hub.history["1" * 40] = hub.history["2" * 40] = {loras: hub.repos[loras]}
    pull(REAL, tmp_path)
    hub.main = "1" * 40
    folder = pull(FOUR_STEP, tmp_path)
    assert weights.revision_of(folder) == hub.main
    hub.main = "2" * 40
    assert weights.revision_of(pull(FOUR_STEP, tmp_path)) == "1" * 40
    assert "not pinned" in row_of(tmp_path, catalog.get(FOUR_STEP))["revision"]


def test_what_is_not_what_the_hub_has_is_not_offered(hub: Hub, tmp_path: Path) -> None:
    hub.lies["transformer/config.json"] = "0" * 40
    with pytest.raises(WeightsError, match=r"transformer/config.json: not what the hub has"):
        pull(REAL, tmp_path)
    renderer = Renderer(tmp_path, "cpu")
    assert fetching.state_of(tmp_path / REAL) == "not fetched to its end"
    assert REAL not in renderer.offered()
    hub.lies.clear()
    pull(REAL, tmp_path)
    assert REAL in renderer.offered()


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 1000

    monkeypatch.setattr("models.weights.hub.shutil.disk_usage", lambda _: Full)
    with pytest.raises(WeightsError, match=r"needs 0\.0 GB more, and .* has 0\.0 GB free"):
        pull(REAL, tmp_path)
    assert not [line for line in hub.asked if "/resolve/" in line]
