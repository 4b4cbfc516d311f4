"""Clips in and sound out: every frame once at its own rate, upright, and the sound kept to the sample."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from model_parts import decoded, film, samples, shade

from models.media import clips, output
from models.media.sound import Sound
from models.planning.request import RenderFault


def greys(frames: Any) -> list[int]:
    return [round((float(frame.mean()) - 40) / 6) for frame in frames]


@pytest.mark.parametrize(
    ("name", "fps"), [("a.mp4", Fraction(30000, 1001)), ("a.mkv", Fraction(24000, 1001)), ("b.mp4", 25)]
)
def test_a_clip_read_at_its_own_rate_is_every_frame_once(tmp_path: Path, name: str, fps: Fraction) -> None:
    path = film(tmp_path / name, 30, fps)
    assert clips.probe(path).fps == pytest.approx(Fraction(fps), rel=1e-4)
    assert greys(clips.read(path)) == list(range(30))


def test_another_rate_takes_the_nearest_frames(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 30, 30)
    assert greys(clips.read(path, fps=15)) == list(range(0, 30, 2))
    assert len(list(clips.read(path, fps=60))) == 60
    assert len(list(clips.read(path, fps=16))) == 16


def test_a_clip_of_changing_rate_keeps_its_timing(tmp_path: Path) -> None:
    """Frames at 0, 40, 80, 280, 320 ms: read at 25 fps the third one stays for its 200 ms."""
    path = tmp_path / "vfr.mkv"
    with av.open(str(path), "w") as box:
        video = box.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number, ms in enumerate((0, 40, 80, 280, 320)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), shade(number), np.uint8), format="rgb24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            box.mux(video.encode(frame))
        box.mux(video.encode(None))
    assert greys(clips.read(path, fps=25))[:9] == [0, 1, 2, 2, 2, 2, 2, 3, 4]


def test_a_clip_that_is_too_long_or_none(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 12)
    with pytest.raises(RenderFault, match="more than 10 frames"):
        list(clips.read(path, most=10))
    (tmp_path / "text.mp4").write_text("no clip")
    for read in (clips.probe, lambda p: next(clips.read(p))):
        with pytest.raises(RenderFault, match="broken or cut off") as caught:
            read(tmp_path / "text.mp4")
        assert caught.value.code == "invalid_input"


@pytest.mark.parametrize(
    ("name", "codec"),
    # as intake writes them
    [("a.mp4", "aac"), ("a.mp4", "flac")],
)
@pytest.mark.parametrize("late", [False, True])
def test_sound_is_kept_to_the_sample(tmp_path: Path, name: str, codec: str, late: bool) -> None:
    source = film(tmp_path / name, 25, 25, codec, late)
    facts = clips.probe(source)
    frames = np.stack(list(clips.read(source)))
    out = tmp_path / "out.mp4"
    output.write_video(out, frames, facts.fps, {"model": "m"}, sound=lambda box: Sound(box, source, facts.start_s))
    before, begins = samples(source)
    after, began = samples(out)
    assert after.shape == before.shape
    assert np.array_equal(after, before)
    lead = float(clips.probe(out).start_s) - began
    assert lead == pytest.approx(float(facts.start_s) - begins, abs=0.002)
    assert (lead > 0.3) == late
    assert len(decoded(out)) == 25


@pytest.mark.parametrize(
    ("name", "codec", "layout", "late_s"),
    [("a.mp4", "aac", "mono", 0.5), ("a.mp4", "flac", "5.1", 0.25), ("a.mp4", "aac", "5.1", 0.5)],
)
def test_sound_of_any_layout_that_begins_after_the_picture(
    tmp_path: Path, name: str, codec: str, layout: str, late_s: float
) -> None:
    """At the film rate of 23.976, whose ticks are not the sound's."""
    source = film(tmp_path / name, 24, Fraction(24000, 1001), codec, layout=layout, sound_late_s=late_s)
    facts = clips.probe(source)
    frames = np.stack(list(clips.read(source)))
    out = tmp_path / "out.mp4"
    output.write_video(out, frames, facts.fps, {"model": "m"}, sound=lambda box: Sound(box, source, facts.start_s))
    (before, begins), (after, began) = samples(source, layout), samples(out, layout)
    assert after.shape == before.shape
    assert np.array_equal(after, before)
    assert began - float(clips.probe(out).start_s) == pytest.approx(begins - float(facts.start_s), abs=0.001)
    assert began == pytest.approx(late_s, abs=0.03)
    assert clips.probe(out).fps == Fraction(24000, 1001)
    assert len(decoded(out)) == 24


def test_sound_ends_with_a_shortened_clip(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", 50, 25, "aac")
    frames = np.stack(list(clips.read(source)))[:25]
    out = tmp_path / "out.mp4"
    output.write_video(out, frames, 25, {}, sound=lambda box: Sound(box, source, Fraction(0), Fraction(1)))
    after, _ = samples(out)
    assert after.shape[1] / 48000 == pytest.approx(1.0, abs=0.05)


def test_picture_and_sound_lie_side_by_side(tmp_path: Path) -> None:
    """A player that reads from the front finds both: no second of picture lies behind all of the sound."""
    source = film(tmp_path / "a.mp4", 100, 25, "aac")
    frames = np.stack(list(clips.read(source)))
    out = tmp_path / "out.mp4"
    output.write_video(out, frames, 25, {}, sound=lambda box: Sound(box, source, Fraction(0)))
    with av.open(str(out)) as box:
        times = {"video": 0.0, "audio": 0.0}
        for packet in box.demux():
            if packet.dts is not None:
                times[packet.stream.type] = float(packet.dts * packet.time_base)
                assert abs(times["video"] - times["audio"]) < 2.5


def test_a_clip_filmed_sideways_is_turned(tmp_path: Path) -> None:
    """The track's matrix says "a quarter turn clockwise": what is left in the file is on top when it is seen."""
    path = tmp_path / "a.mp4"
    pixels = np.full((48, 64, 3), 50, np.uint8)
    pixels[:, 32:] = 200
    output.write_video(path, np.stack([pixels] * 5), 25, {})
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    turned = [0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30]
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turned)
    path.write_bytes(data)
    facts = clips.probe(path)
    assert (facts.width, facts.height) == (48, 64)
    frame = next(clips.read(path))
    assert frame.shape == (64, 48, 3)
    assert frame[:30].mean() < 60
    assert frame[34:].mean() > 190
