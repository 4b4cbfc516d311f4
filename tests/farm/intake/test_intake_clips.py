import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from farm.config import IntakeSettings
from farm.intake import rendition
from farm.intake.check import check
from farm.intake.media import Media
from farm.jobs.errors import InvalidRequest
from farm.jobs.inputs import Kind

LIMITS = IntakeSettings(max_clip_s=3.0)
SIZE = (96, 64)


def look(data: bytes, kind: Kind = Kind.CLIP) -> Media:
    made = check(io.BytesIO(data), kind, LIMITS)
    made.file.close()
    return made.media


def clip(form: str = "mp4", codec: str = "libx264", frames: int = 24, size: tuple[int, int] = SIZE) -> bytes:
    """A second of noise at 24 frames per second."""
    out, rng = io.BytesIO(), np.random.default_rng(1)
    with av.open(out, "w", format=form) as box:
        stream: Any = box.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(frames):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                box.mux(packet)
        for packet in stream.encode():
            box.mux(packet)
    return out.getvalue()


def sound(form: str, codec: str, seconds: float = 1.0) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=form) as box:
        stream: Any = box.add_stream(codec, rate=48_000)
        tone = (np.sin(np.arange(int(48_000 * seconds)) / 20) * 8000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone[None, :], format="s16", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(stream.format.name, stream.layout.name, 48_000, stream.frame_size or None)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            for packet in stream.encode(piece):
                box.mux(packet)
        for packet in stream.encode():
            box.mux(packet)
    return out.getvalue()


def wav(seconds: float) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(int(16_000 * seconds)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", "libx264"), ("mov", "mpeg4"), ("matroska", "libx264"), ("webm", "libvpx-vp9")]
)
def test_clips_are_measured(form: str, codec: str) -> None:
    assert look(clip(form, codec)) == Media("video/mp4", *SIZE, seconds=1.0, frames=24, fps=24.0)


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("wav", "pcm_s16le"),
        ("mp3", "libmp3lame"),
        ("flac", "flac"),
        ("ogg", "libopus"),
        ("adts", "aac"),
        ("ipod", "aac"),
    ],
)
def test_sound_is_measured(form: str, codec: str) -> None:
    found = look(sound(form, codec), Kind.SOUND)
    assert (found.content_type, found.width) == ("audio/flac", None)
    assert found.seconds == pytest.approx(1.0, abs=0.1)


def test_the_same_clip_is_kept_as_the_same_bytes() -> None:
    """So that it is stored once, and a second try finds what the first one kept."""
    data = clip()
    first, second = (check(io.BytesIO(data), Kind.CLIP, LIMITS).file.read() for _ in range(2))
    assert first == second


def test_what_cannot_be_honoured_is_said() -> None:
    """A transfer curve that nobody here converts, and a turn of thirty degrees."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as box:
        stream: Any = box.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        # libav's number of a logarithmic curve
        stream.codec_context.color_trc = 10
        stream.set_display_rotation(30)
        for _ in range(8):
            box.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 96, 3), 90, np.uint8), format="rgb24")))
        box.mux(stream.encode())
    (odd,) = look(out.getvalue()).notes
    assert "turned by less than a quarter, which was left out" in odd
    assert "its transfer curve (number 10) is not known here, and was taken as BT.709" in odd


def spoiled(data: bytes) -> bytes:
    """The same length, every hundredth byte of the middle wrong."""
    changed = bytearray(data)
    for at in range(len(data) // 4, 3 * len(data) // 4, 100):
        changed[at] ^= 0x55
    return bytes(changed)


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: clip(frames=24 * 5), Kind.CLIP, "3 s are allowed"),
        (lambda: clip()[:-2000], Kind.CLIP, "broken or cut off"),
        (lambda: clip("matroska")[: 60 * 300], Kind.CLIP, "broken or cut off"),
        (lambda: spoiled(clip()), Kind.CLIP, "broken or cut off"),
        (lambda: b"\0\0\0\x18ftypisom" + bytes(500), Kind.CLIP, "broken or cut off"),
        (lambda: sound("ipod", "aac"), Kind.CLIP, "M4A audio"),
        (lambda: sound("mp4", "aac"), Kind.CLIP, "holds no video"),
        (clip, Kind.SOUND, "holds no audio"),
        (lambda: wav(4), Kind.SOUND, "3 s are allowed"),
        (lambda: wav(0), Kind.SOUND, "empty"),
        (lambda: wav(1), Kind.CLIP, "WAV audio; send an MP4"),
        (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", Kind.CLIP, "a playlist"),
        (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", Kind.CLIP, "a text file"),
    ],
    # the bytes of a Matroska file differ from run to run, and a test's name must not
    ids=[
        *("too long", "cut off", "matroska cut off", "spoiled", "only a header", "sound for a clip", "no video"),
        *("a clip for sound", "sound too long", "empty sound", "WAV for a clip", "playlist", "ffconcat"),
    ],
)
def test_anything_else_is_refused_with_what_to_do(make: Callable[[], bytes], kind: Kind, says: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        look(make(), kind)
    assert says in raised.value.detail


def test_a_clip_that_was_turned_is_measured_as_seen(tmp_path: Path) -> None:
    upright = tmp_path / "turned.mov"
    upright.write_bytes(clip("mov"))
    data = bytearray(upright.read_bytes())
    # the matrix of the track header: a quarter turn instead of none
    at = data.index(b"tkhd") + 4 + 40
    one = (0x10000).to_bytes(4, "big")
    zero, minus = bytes(4), (-0x10000 & 0xFFFFFFFF).to_bytes(4, "big")
    assert data[at : at + 4] == one
    data[at : at + 20] = zero + one + zero + minus + zero
    found = look(bytes(data))
    assert (found.width, found.height) == (SIZE[1], SIZE[0])


def test_a_reader_that_takes_too_much_is_ended_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    data = clip()
    with monkeypatch.context() as less:
        less.setitem(rendition.MEMORY, Kind.CLIP, 96 << 20)
        with pytest.raises(InvalidRequest):
            look(data)
    monkeypatch.setitem(rendition.CPU_S, Kind.CLIP, 0)
    with pytest.raises(InvalidRequest, match="takes too much to read"):
        look(data)


def test_frames_larger_than_allowed_are_refused_by_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendition, "MAX_FRAME_PIXELS", 5000)
    with pytest.raises(InvalidRequest, match="96x64 pixels are too large"):
        look(clip())
