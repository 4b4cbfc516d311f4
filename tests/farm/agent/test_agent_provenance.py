"""Whose results are signed: the tenant's record, else the farm's settings; what must be signed and cannot is a failure;
a record that cannot be read is waited for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from redis import Redis

from farm.claiming import retry
from farm.config import ProvenanceSettings, RedisSettings, Settings
from farm.jobs.errors import FaultCode, JobFault, Unavailable
from farm.ledger.connection import connect
from farm.results import provenance
from farm.results.provenance import Policies
from farm.tenants.tenants import Tenants
from models.media import output
from models.planning.request import RenderResult
from models.provenance import signing
from models.provenance.signing import SigningPolicy
from tests.e2e.blackhole import BlackHole
from tests.models.certificates import chain


@pytest.fixture
def result(tmp_path: Path) -> RenderResult:
    recipe: dict[str, Any] = {"model": "m", "prompt": "p"}
    frames = np.random.RandomState(0).randint(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    output.write_video(tmp_path / "video.mp4", frames, 8, recipe)
    return RenderResult(str(tmp_path / "video.mp4"), "", "", recipe, 64, 64, 3, 8.0, {})


@pytest.fixture
def tenants(redis: Redis, settings: Settings) -> Tenants:
    return Tenants(redis, settings)


def test_each_tenant_has_its_policy(tmp_path: Path, result: RenderResult, tenants: Tenants) -> None:
    credentials, _ = chain(tmp_path / "certificates")
    settings = ProvenanceSettings(
        tenants={"ada": SigningPolicy.ON}, certificate=credentials.certificate, key=credentials.key
    )
    policies = Policies(settings, tenants)
    provenance.sign(settings, policies.of("bob"), result)
    assert signing.read(Path(result.video)) is None
    provenance.sign(settings, policies.of("ada"), result)
    seen = signing.read(Path(result.video))
    assert seen is not None
    assert seen.recipe == {"model": "m"}


def test_the_tenants_record_comes_before_the_settings(tenants: Tenants) -> None:
    policies = Policies(ProvenanceSettings(policy=SigningPolicy.ON, tenants={"ada": SigningPolicy.OFF}), tenants)
    tenants.create("ada")
    tenants.create("bob", provenance="off")
    assert [policies.of(name) for name in ("ada", "bob", "nobody")] == [
        SigningPolicy.OFF,
        SigningPolicy.OFF,
        SigningPolicy.ON,
    ]
    tenants.set("ada", provenance=SigningPolicy.REQUIRED)
    assert policies.of("ada") is SigningPolicy.REQUIRED
    tenants.set("ada", provenance=None)
    assert policies.of("ada") is SigningPolicy.OFF


def test_a_silent_redis_never_means_off(redis_port: int, redis_settings: RedisSettings, tenants: Tenants) -> None:
    tenants.create("ada", provenance="on")
    with BlackHole(redis_port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        away = Settings(redis=redis_settings.model_copy(update={"ledger_url": url, "socket_timeout_s": 0.1}))
        policies = Policies(ProvenanceSettings(), Tenants(connect(away.redis), away))
        proxy.swallow()
        with pytest.raises(Unavailable):
            policies.of("ada")
        asked = 0

        def check() -> None:
            nonlocal asked
            asked += 1
            if asked == 2:
                proxy.heal()

        assert retry.redis(lambda: policies.before_render("ada"), check) is SigningPolicy.ON
        assert asked >= 2
        proxy.swallow()

        def lost() -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            retry.redis(lambda: policies.before_render("ada"), lost)


def test_nothing_is_rendered_that_must_be_signed_and_cannot_be(tenants: Tenants) -> None:
    tenants.create("ada", provenance="required")
    with pytest.raises(JobFault) as fault:
        Policies(ProvenanceSettings(), tenants).before_render("ada")
    assert fault.value.code == FaultCode.PROVENANCE_REQUIRED


def test_what_must_be_signed_and_cannot_fails_for_good(tmp_path: Path, result: RenderResult) -> None:
    (tmp_path / "empty.pem").touch()
    settings = ProvenanceSettings(
        policy=SigningPolicy.REQUIRED, certificate=tmp_path / "empty.pem", key=tmp_path / "empty.pem"
    )
    with pytest.raises(JobFault) as fault:
        provenance.sign(settings, SigningPolicy.REQUIRED, result)
    assert fault.value.code == FaultCode.PROVENANCE_REQUIRED
    assert not fault.value.retryable
    assert str(tmp_path) not in fault.value.message


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValidationError, match="needs a certificate"):
        ProvenanceSettings(tenants={"ada": SigningPolicy.REQUIRED})
    with pytest.raises(ValidationError, match="go together"):
        ProvenanceSettings(certificate=Path("chain.pem"))
