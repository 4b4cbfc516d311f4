"""`make images`: both images are built, and gateway, io worker and worker out of them render a clip. Slow; needs root,
Debian's buildah and debootstrap, and a package index. Nothing is fetched from a registry of images."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from farm.client import Client
from farm.config import S3Settings
from farm.embedded import redis_part
from farm.embedded.ports import free_port
from tests.conftest import _serve, wait_until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
BUILDAH = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
MODEL = "wan2.2-ti2v-5b-tiny"


def buildah(*arguments: str) -> str:
    ran = subprocess.run(["buildah", *arguments], env=BUILDAH, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout.strip()


@contextmanager
def container(image: str, settings: dict[str, str]) -> Iterator[str]:
    """A container of the image with these variables; what runs in it shares the machine's network."""
    name = buildah("from", "--pull-never", image)
    try:
        for variable, value in settings.items():
            buildah("config", "--env", f"{variable}={value}", name)
        yield name
    finally:
        buildah("rm", name)


@contextmanager
def running(name: str, *command: str, log: Path) -> Iterator[None]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            ["buildah", "run", name, "--", "wanfarm", *command], env=BUILDAH, stdout=out, stderr=out
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    for program in ("buildah", "debootstrap"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on PATH (Debian: apt-get install buildah debootstrap)")
    for which in ("farm", "gpu"):
        subprocess.run([ROOT / "deploy/images/build.sh", which], check=True, env=BUILDAH)
    return {which: f"localhost/wanfarm-{which}" for which in ("farm", "gpu")}


def test_the_images_are_small_told_and_nobodys_root(images: dict[str, str], tmp_path: Path) -> None:
    for image in images.values():
        told = json.loads(buildah("inspect", "--type", "image", image))["OCIv1"]["config"]
        assert told["User"] == "10001:10001"
        with container(image, {}) as name:
            assert buildah("run", name, "--", "id", "-u") == "10001"
            sbom = json.loads(buildah("run", name, "--", "cat", "/opt/wanfarm/sbom.cdx.json"))
            assert {"wanfarm", "redis"} <= {one["name"] for one in sbom["components"]}
            here = buildah(
                "run", name, "--", "python", "-c", "import importlib.util as u; print(bool(u.find_spec('torch')))"
            )
            assert here == str(image.endswith("gpu"))
    # what a registry would send
    buildah("push", "--compression-format", "gzip", images["farm"], f"oci:{tmp_path / 'farm'}")
    sent_mb = sum(path.stat().st_size for path in (tmp_path / "farm").rglob("*") if path.is_file()) / 1e6
    print(f"\nthe image without torch: {sent_mb:.0f} MB as a registry sends it")
    assert sent_mb < 300


def test_a_clip_is_rendered_by_containers(images: dict[str, str], s3_server: S3Settings, tmp_path: Path) -> None:
    redis_port, gateway_port = free_port(), free_port()
    url = f"http://127.0.0.1:{gateway_port}"
    settings = {
        "WANFARM_REDIS__LEDGER_URL": f"redis://127.0.0.1:{redis_port}/0",
        "WANFARM_REDIS__BROKER_URL": f"redis://127.0.0.1:{redis_port}/1",
        "WANFARM_S3__ENDPOINT": s3_server.endpoint,
        "WANFARM_S3__ACCESS_KEY": s3_server.access_key,
        "WANFARM_S3__SECRET_KEY": s3_server.secret_key,
        "WANFARM_GATEWAY__PORT": str(gateway_port),
        "WANFARM_WORKER__DEVICES": "cpu",
        "WANFARM_WORKER__MODELS": json.dumps([MODEL]),
    }
    worker = {**settings, "WANFARM_WORKER__MODELS_DIR": "/models"}
    command = redis_part.command(tmp_path / "redis", redis_port, password=None)
    with contextmanager(_serve)(command, redis_port, tmp_path / "redis.log"), ExitStack() as stack:
        farm = stack.enter_context(container(images["farm"], settings))
        renderer = stack.enter_context(container(images["gpu"], worker))
        key = json.loads(buildah("run", farm, "--", "wanfarm", "tenants", "create", "studio", "--json"))["api_key"]
        for name, *arguments in (
            (farm, "serve", "gateway"),
            (farm, "serve", "io"),
            (farm, "serve", "beat"),
            (renderer, "worker"),
        ):
            stack.enter_context(running(name, *arguments, log=tmp_path / f"{arguments[-1]}.log"))
        with Client(url, key, patience_s=300.0) as client:
            wait_until(lambda: any(one.available for one in client.models()), 900, f"a worker ({tmp_path})")
            done = client.jobs.wait(client.jobs.create("a red fox runs", model=MODEL).id, timeout_s=900)
            assert done.state == "succeeded", done.error
            clip = client.jobs.download(done, tmp_path / "out").video
    assert clip.read_bytes()[4:8] == b"ftyp"
