"""Whose results are signed: the tenant's policy, else the farm's; what must be signed and cannot is a failure."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from farm import provenance
from farm.config import ProvenanceSettings
from farm.jobs.errors import FaultCode, JobFault
from models import output, signing
from models.request import RenderResult
from models.signing import Policy
from tests.models.certificates import chain


@pytest.fixture
def result(tmp_path: Path) -> RenderResult:
    recipe: dict[str, Any] = {"model": "m", "prompt": "p"}
    frames = np.random.RandomState(0).randint(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    output.write_video(tmp_path / "video.mp4", frames, 8, recipe)
    return RenderResult(str(tmp_path / "video.mp4"), "", "", recipe, 64, 64, 3, 8.0, {})


def test_each_tenant_has_its_policy(tmp_path: Path, result: RenderResult) -> None:
    credentials, _ = chain(tmp_path / "certificates")
    settings = ProvenanceSettings(tenants={"ada": Policy.ON}, certificate=credentials.certificate, key=credentials.key)
    provenance.sign(settings, "bob", result)
    assert signing.read(Path(result.video)) is None
    provenance.sign(settings, "ada", result)
    seen = signing.read(Path(result.video))
    assert seen is not None
    assert seen.recipe == {"model": "m"}


def test_what_must_be_signed_and_cannot_fails_for_good(tmp_path: Path, result: RenderResult) -> None:
    (tmp_path / "empty.pem").touch()
    settings = ProvenanceSettings(
        policy=Policy.REQUIRED, certificate=tmp_path / "empty.pem", key=tmp_path / "empty.pem"
    )
    with pytest.raises(JobFault) as fault:
        provenance.sign(settings, "ada", result)
    assert fault.value.code == FaultCode.PROVENANCE_REQUIRED
    assert not fault.value.retryable
    assert str(tmp_path) not in fault.value.message


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValidationError, match="needs a certificate"):
        ProvenanceSettings(tenants={"ada": Policy.REQUIRED})
    with pytest.raises(ValidationError, match="go together"):
        ProvenanceSettings(certificate=Path("chain.pem"))
