"""Folders of weights: built alike every time, hashed once, checked whole, never a pickle."""

import json
import os
from pathlib import Path

import pytest
from model_parts import T2V, TI2V, request_for

from models import catalog
from models.planning.request import RenderFault
from models.render.renderer import Renderer
from models.weights import hub, tiny, weights
from models.weights.weights import WeightsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.ensure(tmp_path, T2V)


def test_tiny_weights_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = tiny.ensure(tmp_path / "a", TI2V), tiny.ensure(tmp_path / "b", TI2V)
    assert weights.digest(first) == weights.digest(second)
    assert weights.verify(first) == []


def test_two_processes_build_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower of two finds the folder made while it was building, takes it, and leaves no draft behind."""
    build = tiny.build

    def slow_build(model_id: str, folder: Path) -> None:
        monkeypatch.setattr(tiny, "build", build)
        tiny.ensure(tmp_path, model_id)
        build(model_id, folder)

    monkeypatch.setattr(tiny, "build", slow_build)
    assert weights.verify(tiny.ensure(tmp_path, T2V)) == []
    assert [path.name for path in tmp_path.iterdir()] == [T2V]


def test_every_tiny_model_of_the_catalog_can_be_built(models_dir: Path) -> None:
    for model in catalog.MODELS.values():
        if model.weights.tiny:
            folder = tiny.ensure(models_dir, model.id)
            # Animate 2 takes a picture encoder of full width
            most = 30_000_000 if "animate-2" in model.id else 5_000_000
            assert sum(f.stat().st_size for f in folder.rglob("*")) < most


def test_a_real_model_is_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pulled"):
        tiny.build("wan2.2-t2v-a14b", tmp_path)


def test_hashes_are_kept_until_a_file_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights.digest(folder)
    read: list[Path] = []
    real = weights.sha256_of
    monkeypatch.setattr(weights, "sha256_of", lambda path: read.append(path) or real(path))
    assert weights.digest(folder) == before
    assert read == []
    changed = folder / "transformer" / "config.json"
    changed.write_text(changed.read_text() + " ")
    assert weights.digest(folder) != before
    assert read == [changed]


def test_verify_names_what_is_wrong(folder: Path) -> None:
    lock = {"repo": "x", "revision": "abc", "files": weights.hashes(folder)}
    (folder / weights.LOCK).write_text(json.dumps(lock))
    assert weights.verify(folder) == []
    assert weights.revision_of(folder) == "abc"

    tensors = folder / "transformer_2" / "diffusion_pytorch_model.safetensors"
    whole = tensors.read_bytes()
    stat = tensors.stat()
    tensors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(tensors, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # a flipped bit that size and time do not tell
    assert any("content has changed" in problem for problem in weights.verify(folder))
    tensors.write_bytes(whole[: len(whole) // 2])
    assert any("cannot be read" in problem for problem in weights.verify(folder))
    tensors.unlink()
    assert any("no .safetensors" in problem for problem in weights.verify(folder))


def test_pickles_are_reported_and_never_loaded(folder: Path, tmp_path: Path) -> None:
    (folder / "vae" / "weights.bin").write_bytes(b"x")
    assert any("pickle" in problem for problem in weights.verify(folder))
    renderer = Renderer(tmp_path, "cpu")
    with pytest.raises(RenderFault, match="pickle"):
        renderer.render(request_for(tmp_path / "out"), lambda _: None, lambda: False)


def test_pull_without_a_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match="is this machine online"):
        hub.pull(catalog.get("wan2.2-t2v-a14b"), tmp_path, None, lambda _: None)
    with pytest.raises(WeightsError, match="they are built"):
        hub.pull(catalog.get(T2V), tmp_path, None, lambda _: None)


def test_real_weights_load_by_the_same_code(tmp_path: Path) -> None:
    """A folder under a real model's id is offered and asked for as such; without one the fault says what is missing."""
    renderer = Renderer(tmp_path, "cpu")
    assert "wan2.2-t2v-a14b" not in renderer.offered()
    assert T2V in renderer.offered()
    request = request_for(tmp_path / "out", "wan2.2-t2v-a14b", width=832, height=480)
    with pytest.raises(RenderFault, match="not on this machine"):
        renderer.render(request, lambda _: None, lambda: False)
    tiny.build(T2V, tmp_path / "wan2.2-t2v-a14b")
    assert "wan2.2-t2v-a14b" in renderer.offered()
    assert "wan2.2-t2v-a14b-4step" not in renderer.offered()  # its LoRAs are not here
    (tmp_path / "wan2.2-animate-14b").mkdir()
    (tmp_path / "wan2.2-animate-14b" / "model_index.json").write_text("{}")
    assert "wan2.2-animate-14b" not in renderer.offered()  # nothing here can look at a clip
