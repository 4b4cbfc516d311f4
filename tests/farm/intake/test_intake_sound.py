"""The sound of a clip on its way from the file that was sent to the result: to the sample where it was lossless."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from farm.intake import clip_rendition
from models.media import clips, output
from models.media.sound import Sound

RATE = 48_000


def filmed(
    form: str, codec: str, layout: str = "stereo", *, picture_late_s: float = 0, sound_late_s: float = 0
) -> bytes:
    """A second of picture at 25 fps and a second of a sweep."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as box:
        video: Any = box.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        track: Any = box.add_stream(codec, rate=RATE)
        track.layout = layout
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 + number * 6, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number + round(picture_late_s * 25), Fraction(1, 25)
            box.mux(video.encode(frame))
        channels = len(av.AudioLayout(layout).channels)
        wave = (np.sin(np.arange(RATE) ** 1.4 / 300) * 12000).astype(np.int16)
        for start in range(0, RATE, 1024):
            samples = np.repeat(wave[start : start + 1024], channels)[None]
            part = av.AudioFrame.from_ndarray(samples, format="s16", layout=layout)
            part.sample_rate, part.time_base, part.pts = RATE, Fraction(1, RATE), start + round(sound_late_s * RATE)
            box.mux(track.encode(part))
        box.mux(track.encode(None))
        box.mux(video.encode(None))
    return out.getvalue()


def heard(path: Path | io.BytesIO, layout: str = "stereo") -> tuple[Any, float]:
    """(samples of the first track (channels, n), the time of the first one)."""
    with av.open(str(path) if isinstance(path, Path) else path) as box:
        resampler = av.AudioResampler(format="dblp", layout=layout, rate=RATE)
        parts, start = [], None
        for frame in box.decode(audio=0):
            start = frame.time if start is None else start
            parts += [part.to_ndarray() for part in resampler.resample(frame)]
    assert start is not None
    return np.concatenate(parts, axis=1), start


def result_of(data: bytes, form: str, folder: Path) -> Path:
    """Through intake and the renderer, without a model between."""
    kept, out = folder / "kept.mp4", folder / "out.mp4"
    with kept.open("w+b") as file:
        clip_rendition.keep(io.BytesIO(data), file, {"opens": form, "max_s": 10, "max_pixels": 10**6, "sound": True})
    facts = clips.probe(kept)
    frames = np.stack(list(clips.read(kept)))
    output.write_video(out, frames, facts.fps, {"model": "m"}, sound=lambda box: Sound(box, kept, facts.start_s))
    return out


@pytest.mark.parametrize(
    ("form", "codec", "layout"),
    [
        ("mov", "pcm_s16le", "stereo"),
        ("mov", "pcm_s24le", "mono"),
        ("matroska", "flac", "5.1"),
        ("mov", "alac", "stereo"),
    ],
)
def test_what_was_lossless_is_kept_to_the_sample(tmp_path: Path, form: str, codec: str, layout: str) -> None:
    data = filmed(form, codec, layout)
    before, _ = heard(io.BytesIO(data), layout)
    after, _ = heard(result_of(data, form, tmp_path), layout)
    assert after.shape == before.shape
    assert np.array_equal(after, before)


@pytest.mark.parametrize(
    ("form", "codec", "layout"),
    [("mp4", "aac", "stereo"), ("mp4", "libmp3lame", "mono"), ("matroska", "libopus", "stereo"), ("mp4", "aac", "5.1")],
)
def test_what_was_lossy_sounds_the_same_and_stays_in_time(tmp_path: Path, form: str, codec: str, layout: str) -> None:
    data = filmed(form, codec, layout)
    before, _ = heard(io.BytesIO(data), layout)
    after, _ = heard(result_of(data, form, tmp_path), layout)
    whole = min(before.shape[1], after.shape[1])
    assert abs(before.shape[1] - after.shape[1]) < 2100, "blocks of the codecs at the ends"
    middle = slice(4000, whole - 8000)
    error = np.mean((after[0, middle] - before[0, middle]) ** 2) / np.mean(before[0, middle] ** 2)
    assert error < 0.01, "a shift of one sample would be 0.02 and more"


@pytest.mark.parametrize(("picture_late_s", "sound_late_s"), [(0.4, 0.0), (0.0, 0.48)])
@pytest.mark.parametrize(("form", "codec"), [("mov", "pcm_s16le"), ("mp4", "aac")])
def test_picture_and_sound_keep_their_distance(
    tmp_path: Path, form: str, codec: str, picture_late_s: float, sound_late_s: float
) -> None:
    data = filmed(form, codec, picture_late_s=picture_late_s, sound_late_s=sound_late_s)
    out = result_of(data, form, tmp_path)
    samples, start_s = heard(out)
    # AAC begins with a block of silence
    sound_s = start_s + int(np.argmax(np.abs(samples[0]) > 0.05)) / RATE
    assert sound_s - float(clips.probe(out).start_s) == pytest.approx(sound_late_s - picture_late_s, abs=0.025)
