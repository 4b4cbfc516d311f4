"""`wanfarm models`: pulling with the real client from a hub on this machine, killed in between; what is shown of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.catalog import networks
from tests.conftest import wait_until
from tests.farm.cli.cli_run import run
from tests.models.hub_parts import Hub

PERSON = networks.PERSON


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


def tensors(count: int) -> bytes:
    """A safetensors file of so many bytes in one tensor."""
    header = b'{"t":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (count, count)
    return len(header).to_bytes(8, "little") + header + bytes(range(256)) * (count // 256)


def pulling(hub: Hub, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "farm.cli", "models", "pull", PERSON.id, "--models-dir", str(folder), *options]
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "home")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def here(folder: Path) -> str:
    rows = run("models", "list", "--here", "--models-dir", folder, "--json").document
    return str(next(row["here"] for row in rows if row["id"] == PERSON.id))


def test_a_pull_that_was_killed_goes_on(hub: Hub, tmp_path: Path) -> None:
    # the client writes 10 MiB at a time
    hub.repos[PERSON.repo] = {"config.json": b"{}", "model.safetensors": tensors(24 << 20), "old.bin": b"pickle"}
    hub.stalls["model.safetensors"] = 22 << 20
    assert here(tmp_path) == "not here"
    first = pulling(hub, tmp_path)
    wait_until(hub.stalled.is_set, what="the download to be under way")
    folder = tmp_path / PERSON.id
    wait_until(lambda: any(p.stat().st_size >= 10 << 20 for p in folder.glob(".parts/*")), what="a part of it here")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    hub.go_on.set()
    assert here(tmp_path) == "not fetched to its end"
    broken = run("models", "verify", PERSON.id, "--models-dir", tmp_path)
    assert broken.code == 1
    assert "pull it again" in broken.out

    hub.asked.clear()
    out, err = pulling(hub, tmp_path).communicate()
    assert out.strip() == str(tmp_path / PERSON.id), err
    assert f"{PERSON.id}: 100 % of 0.0 GB" in err
    # not from the beginning
    (line,) = [line for line in hub.asked if line.startswith("GET") and "model.safetensors" in line]
    assert int(line.rpartition("bytes=")[2].removesuffix("-")) >= 10 << 20
    assert here(tmp_path) == f"pulled at {PERSON.revision[:12]}"
    assert not (folder / ".parts").exists()
    assert run("models", "verify", "--models-dir", tmp_path).ok().out == f"{PERSON.id}: whole\n"
    with (tmp_path / PERSON.id / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    changed = run("models", "verify", PERSON.id, "--models-dir", tmp_path)
    assert (changed.code, "model.safetensors: its content has changed" in changed.out) == (1, True)


def test_a_model_is_shown_with_what_it_looks_with(tmp_path: Path) -> None:
    shown = run("models", "show", "wan2.2-animate-14b", "--models-dir", tmp_path, "--json").document
    assert [row["id"] for row in shown["looks_with"]] == list(networks.NETWORKS)
    assert {row["licence"] for row in shown["looks_with"]} == {"Apache-2.0"}
    text = run("models", "show", "wan2.2-animate-14b", "--models-dir", tmp_path).ok().out
    assert "832x480, as long as the video, 20 steps" in text
    assert f"{PERSON.repo} @ {PERSON.revision}" in text
    assert "preprocess/mask: not here" in text
    listed = run("models", "list", "--here", "--models-dir", tmp_path).ok().out
    assert all(network.id in listed for network in networks.NETWORKS.values())
    missing = run("models", "verify", "wan2.2-animate-14b", "--models-dir", tmp_path)
    assert missing.code == 1
    assert missing.out.count("not here; wanfarm models pull") == 4
    assert run("models", "show", "wan-9").code == 2
    assert "preprocess/pose" in run("models", "pull", "preprocess/eyes", "--models-dir", tmp_path).err
