"""Redis over TLS with user and password, and S3 over TLS, both with a certificate of an authority of one's own."""

import os
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from private_ca import Certificates, certificates
from redis import Redis

from farm.claiming.celery_app import make_app
from farm.claiming.permits import Permits
from farm.config import RedisSettings, S3Settings, Settings
from farm.embedded import s3_part
from farm.embedded.ports import free_port
from farm.jobs.errors import Unavailable
from farm.ledger import Ledger, Permit, connect
from farm.storage.store import Store
from tests.conftest import wait_until

USER, PASSWORD = "farm", "a-word"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def redis_port(files: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that speaks TLS alone and knows one user. The Valkey of the wheel has no TLS; the distribution's Redis
    does (7.0, without WAITAOF)."""
    server_program = shutil.which("redis-server")
    if server_program is None:
        pytest.skip("no redis-server on PATH (Debian: apt-get install redis-server)")
    folder, port = tmp_path_factory.mktemp("redis-tls"), free_port()
    config = folder / "server.conf"
    lines = ["port 0", f"tls-port {port}", "bind 127.0.0.1", f"dir {folder}", "appendonly yes", 'save ""']
    lines += [f"tls-cert-file {files.certificate}", f"tls-key-file {files.key}", f"tls-ca-cert-file {files.authority}"]
    lines += ["tls-auth-clients no", "user default off", f"user {USER} on >{PASSWORD} ~* &* +@all"]
    config.write_text("\n".join([*lines, ""]))
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([server_program, str(config)], stdout=log, stderr=log)
    try:
        wait_until(lambda: "Ready to accept" in (folder / "log").read_text(), what="a server with TLS")
        yield port
    finally:
        server.kill()
        server.wait()


def redis_settings(port: int, authority: Path | None, user: str = USER) -> RedisSettings:
    base = f"rediss://{user}:{PASSWORD}@127.0.0.1:{port}"
    return RedisSettings(ledger_url=f"{base}/0", broker_url=f"{base}/1", ca_file=authority)


def test_ledger_and_broker_speak_tls(redis_port: int, files: Certificates) -> None:
    settings = Settings(redis=redis_settings(redis_port, files.authority))
    with connect(settings.redis) as client:
        assert Ledger(client, settings).topup("acme", 5, reference="a").balance == 5
    assert Permits(settings).publish([Permit("1", "gpu")]) == 1
    with Redis(
        "127.0.0.1", redis_port, db=1, username=USER, password=PASSWORD, ssl=True, ssl_ca_certs=str(files.authority)
    ) as broker:
        assert broker.llen("wf:celery:pool.gpu") == 1


@pytest.mark.parametrize("wrong", ["authority", "user"])
def test_a_server_of_another_authority_or_for_others_is_not_spoken_to(
    redis_port: int, files: Certificates, tmp_path: Path, wrong: str
) -> None:
    other = certificates(tmp_path).authority if wrong == "authority" else files.authority
    settings = Settings(redis=redis_settings(redis_port, other, "nobody" if wrong == "user" else USER))
    with connect(settings.redis) as client, pytest.raises(Unavailable):
        Ledger(client, settings).topup("acme", 5, reference="b")
    app = make_app(settings, "test", patience_s=1.0)
    with pytest.raises((OperationalError, OSError)), app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)


@pytest.fixture(scope="module")
def s3(files: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Settings]:
    folder, port = tmp_path_factory.mktemp("s3-tls"), free_port()
    settings = S3Settings(endpoint=f"127.0.0.1:{port}", secure=True, ca_file=files.authority)
    (folder / "data" / settings.bucket).mkdir(parents=True)
    command = [*s3_part.command(folder / "data", port), "--cert", str(files.certificate), "--key", str(files.key)]
    environment = {**os.environ, **s3_part.environment(settings.access_key, settings.secret_key)}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        store = Store(settings)
        wait_until(store.ready, what="an S3 server with TLS")
        yield settings
    finally:
        server.kill()
        server.wait()


def test_objects_travel_over_tls(s3: S3Settings, files: Certificates) -> None:
    store = Store(s3)
    store.put_bytes("results/a/b", b"a clip", "video/mp4")
    assert store.get_bytes("results/a/b", 100) == b"a clip"
    address = store.presign_get("results/a/b")
    assert address.startswith("https://")
    trusting = ssl.create_default_context(cafile=str(files.authority))
    with urllib.request.urlopen(address, context=trusting) as answer:
        assert answer.read() == b"a clip"


def test_a_store_of_another_authority_gets_nothing(s3: S3Settings, tmp_path: Path) -> None:
    stranger = Store(s3.model_copy(update={"ca_file": certificates(tmp_path).authority}))
    assert not stranger.ready()
    with pytest.raises(Unavailable):
        stranger.put_bytes("results/a/c", b"a clip", "video/mp4")
