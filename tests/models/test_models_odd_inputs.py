"""Clips whose sound once killed engines, or threw finished renders away: from intake to a result with its sound."""

import io
import lzma
from pathlib import Path

import av
import pytest
from model_parts import Render

from farm.config import IntakeSettings
from farm.intake.check import check
from farm.jobs.inputs import Kind

CASES = Path(__file__).parents[1] / "data" / "cases"


@pytest.mark.parametrize(
    ("name", "tracks"),
    [
        ("01-surround-kills-engine/input.mp4", ["stereo"]),
        ("02-second-sound-track-unknown/input.mov", ["stereo"]),
        ("03-torn-sound/input.mp4", ["mono"]),
        pytest.param("01-surround-kills-engine/input-pcm.mov.xz", [], marks=pytest.mark.soak),
        pytest.param("03-torn-sound/input-16.mov.xz", ["stereo"], marks=pytest.mark.soak),
    ],
)
def test_a_render_follows_a_clip_with_odd_sound(
    render: Render, picture: Path, tmp_path: Path, name: str, tracks: list[str]
) -> None:
    data = (CASES / name).read_bytes()
    made = check(io.BytesIO(lzma.decompress(data) if name.endswith(".xz") else data), Kind.CLIP, IntakeSettings())
    clip = tmp_path / "clip.mp4"
    with made.file as file:
        clip.write_bytes(file.read())
    inputs = {"image": str(picture), "video": str(clip)}
    result = render("wan2.2-animate-2-14b-tiny", "animate", inputs=inputs, steps=1, guidance=1.0, guidance_2=None)
    assert (result.frames, result.fps) == (made.media.frames, made.media.fps)
    with av.open(result.video) as box:
        assert [stream.layout.name for stream in box.streams.audio] == tracks
        assert all(next(box.decode(stream)).samples for stream in box.streams.audio)
