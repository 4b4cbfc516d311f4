"""Content credentials: what is signed still plays, says what made it, and notices a changed byte."""

from pathlib import Path

import numpy as np
import pytest
from certificates import chain
from model_parts import decoded

from models.media import output
from models.planning.request import RenderFault
from models.provenance import signing
from models.provenance.signing import Credentials, SigningPolicy

RECIPE = {"model": "m", "task": "t2v", "seed": 7, "frames_sha256": "ab" * 32, "prompt": "a secret"}


@pytest.fixture
def video(tmp_path: Path) -> Path:
    frames = np.random.RandomState(0).randint(0, 255, (5, 64, 64, 3), dtype=np.uint8)
    output.write_video(tmp_path / "video.mp4", frames, 8, RECIPE)
    return tmp_path / "video.mp4"


def test_a_signed_clip_plays_and_tells_what_made_it(video: Path, tmp_path: Path) -> None:
    before = decoded(video)
    credentials, root = chain(tmp_path / "certificates")
    assert signing.read(video) is None
    assert signing.follow(SigningPolicy.ON, credentials, video, RECIPE) is None
    seen = signing.read(video)
    assert seen is not None
    assert seen.state == "Valid"
    assert seen.issuer == "Test Studio"
    assert seen.source_type is not None
    assert seen.source_type.endswith("/trainedAlgorithmicMedia")
    assert seen.recipe == {name: value for name, value in RECIPE.items() if name != "prompt"}
    assert np.array_equal(decoded(video), before)
    assert output.read_recipe(video) == RECIPE
    trusted = signing.read(video, root)
    assert trusted is not None
    assert trusted.state == "Trusted"
    assert [path.name for path in video.parent.glob("*.mp4")] == ["video.mp4"]


def test_a_changed_byte_is_noticed(video: Path, tmp_path: Path) -> None:
    credentials, _ = chain(tmp_path / "certificates")
    signing.sign(video, credentials, RECIPE)
    content = bytearray(video.read_bytes())
    content[-200] ^= 1
    video.write_bytes(content)
    seen = signing.read(video)
    assert seen is not None
    assert seen.state == "Invalid"


def test_off_touches_nothing(video: Path, tmp_path: Path) -> None:
    before = video.read_bytes()
    assert signing.follow(SigningPolicy.OFF, chain(tmp_path / "certificates")[0], video, RECIPE) is None
    assert video.read_bytes() == before


@pytest.mark.parametrize("trouble", ["none", "absent", "other key", "expired"])
def test_what_cannot_be_signed_is_told_or_refused(video: Path, tmp_path: Path, trouble: str) -> None:
    good, _ = chain(tmp_path / "certificates")
    credentials = {
        "none": None,
        "absent": Credentials(tmp_path / "no.pem", good.key),
        "other key": Credentials(good.certificate, chain(tmp_path / "others")[0].key),
        "expired": chain(tmp_path / "expired", days=-1)[0],
    }[trouble]
    before = video.read_bytes()
    assert signing.follow(SigningPolicy.ON, credentials, video, RECIPE)
    with pytest.raises(RenderFault, match="must carry content credentials") as fault:
        signing.follow(SigningPolicy.REQUIRED, credentials, video, RECIPE)
    assert fault.value.code == "provenance_required"
    assert video.read_bytes() == before
    assert [path.name for path in video.parent.glob("*.mp4")] == ["video.mp4"]
