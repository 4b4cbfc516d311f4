"""Files that are made to hurt, each against the defence that stops it: nothing but a child process ever pays."""

import contextlib
import io
import os
import resource
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from test_intake_clips import clip

from bench.flood_media import edited_clip
from farm.config import IntakeSettings
from farm.intake import rendition
from farm.intake.check import check
from farm.intake.rendition import Rendition
from farm.jobs.errors import InvalidRequest
from farm.jobs.inputs import Kind
from models.media import clips
from tests.conftest import wait_until


@pytest.fixture(autouse=True, scope="module")
def _decoders_as_the_farm_starts_them(_forked_decoders: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rendition, "subprocess", subprocess)
        yield


def taken(data: bytes, kind: Kind = Kind.CLIP) -> Rendition:
    return check(io.BytesIO(data), kind, IntakeSettings())


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(*chunks: bytes, side: int = 32, bits: int = 8) -> bytes:
    """A grey PNG with more chunks before its pixels."""
    pixels = zlib.compress((b"\0" + bytes(side * bits // 8)) * side, 9)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"gAMA", b"\0\0\xb1\x8f")[:-4] + b"none",
        chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"iCCP", b"icc\0\0not zlib"),
        chunk(b"eXIf", b"nonsense"),
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(8 << 20))),
        chunk(b"iTXt", b"x" * 70_000)[:-4] + b"none",
    ],
    ids=["bad checksum", "long profile", "broken profile", "broken EXIF", "long text", "broken text"],
)
def test_what_does_not_matter_in_a_png_does_not(odd: bytes) -> None:
    with taken(png(odd), Kind.PICTURE).file as file:
        assert Image.open(file).size == (32, 32)


def test_a_large_picture_leaves_nothing_in_this_process() -> None:
    """49 million pixels of 16 bits in 95 KB: decoded here they would take hundreds of megabytes."""
    data = png(side=7000, bits=16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = taken(data, Kind.PICTURE)
    made.file.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000, "kilobytes"
    assert made.media.width == 2560


def silence(decoded_mb: int) -> bytes:
    """Half a second of picture; its sound, one packet of silence again and again, decodes to so much."""
    memory, size = io.BytesIO(), 16384
    with av.open(memory, "w", format="flac") as box:
        stream: Any = box.add_stream("flac", rate=48_000)
        stream.layout, stream.format = "stereo", "s32"
        stream.codec_context.options = {"frame_size": str(size)}
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * size), np.int32), "s32", "stereo")
        frame.sample_rate, frame.pts = 48_000, 0
        packet = next(bytes(p) for p in (*stream.encode(frame), *stream.encode(None)) if p.size)
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as box:
        video: Any = box.add_stream("libx264", rate=16)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound: Any = box.add_stream("flac", rate=48_000)
        sound.layout, sound.format = "stereo", "s32"
        sound.codec_context.options = {"frame_size": str(size)}
        sound.codec_context.open()
        for number in range(8):
            pixels = np.full((64, 64, 3), number * 20, np.uint8)
            box.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        box.mux(video.encode(None))
        for number in range(decoded_mb * 1_000_000 // (size * 8)):
            again = av.Packet(packet)
            again.stream, again.time_base = sound, Fraction(1, 1000)
            again.pts, again.dts, again.duration = min(number, 499), min(number, 499), 1
            box.mux(again)
    return out.getvalue()


def test_sound_that_swells_is_as_long_as_its_times_say(tmp_path: Path) -> None:
    """What lies where sound is already is left out: 400 MB become what half a second has room for."""
    data = silence(400)
    assert len(data) < 200_000
    made = taken(data)
    with made.file as file:
        assert os.fstat(file.fileno()).st_size < 1_000_000
        (tmp_path / "kept.mp4").write_bytes(file.read())
    with av.open(str(tmp_path / "kept.mp4")) as box:
        assert sum(frame.samples for frame in box.decode(audio=0)) < 2 * 48_000
    assert made.media.frames == 8


def test_a_file_that_is_two_things_is_the_one_that_was_measured(tmp_path: Path) -> None:
    """A Matroska with an MPEG-TS of other pictures in a hole of it: the engine is given a file of ours."""
    honest, other = clip("matroska", frames=8), clip("mpegts", frames=8, size=(640, 480))
    # an element that readers of Matroska pass over, right behind the header
    at = honest.index(b"\x18\x53\x80\x67")
    hole = b"\xec\x10" + len(other).to_bytes(3, "big") + other
    made = taken(honest[:at] + hole + honest[at:])
    path = tmp_path / "kept"
    with made.file as file:
        path.write_bytes(file.read())
    assert path.read_bytes()[4:8] == b"ftyp"
    assert (made.media.width, made.media.height) == (96, 64)
    assert next(clips.read(path)).shape == (64, 96, 3)


def test_a_cover_is_not_the_clip(tmp_path: Path) -> None:
    """An MP4 whose first picture stream is a cover, as music programs write it."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as box:
        cover: Any = box.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 320, 320, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        video: Any = box.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        box.mux(cover.encode(av.VideoFrame.from_ndarray(np.full((320, 320, 3), 200, np.uint8), "rgb24")))
        box.mux(cover.encode(None))
        for _ in range(8):
            box.mux(video.encode(av.VideoFrame.from_ndarray(np.full((64, 96, 3), 50, np.uint8), "rgb24")))
        box.mux(video.encode(None))
    made = taken(out.getvalue())
    made.file.close()
    assert (made.media.width, made.media.height, made.media.frames) == (96, 64, 8)


@pytest.mark.parametrize(
    ("form", "codec", "size", "called"),
    [
        ("3gp", "h263", (176, 144), "H.263"),
        ("mov", "qtrle", (96, 64), "QuickTime Animation"),
        ("mov", "png", (96, 64), "PNG"),
    ],
)
def test_a_codec_that_is_not_taken_is_named(form: str, codec: str, size: tuple[int, int], called: str) -> None:
    out = io.BytesIO()
    with av.open(out, "w", format=form) as box:
        stream: Any = box.add_stream(codec, rate=24)
        stream.width, stream.height = size
        stream.pix_fmt = "rgb24" if codec in ("qtrle", "png") else "yuv420p"
        for _ in range(8):
            box.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((*size[::-1], 3), 50, np.uint8), "rgb24")))
        box.mux(stream.encode(None))
    with pytest.raises(InvalidRequest, match="is not taken; encode it again as") as raised:
        taken(out.getvalue())
    assert f"encoded with {called}" in raised.value.detail


def ended(process: Path) -> bool:
    """Whether it runs no more; nobody may be there to reap it."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_no_decoder_outlives_the_process_that_asked(tmp_path: Path) -> None:
    """A gateway that is killed under a flood left eight of them, each with four minutes of CPU before it."""
    hostile = tmp_path / "edits.mp4"
    hostile.write_bytes(edited_clip())
    code = (
        "import sys; from farm.config import IntakeSettings; from farm.intake.check import check;"
        "from farm.jobs.inputs import Kind; check(open(sys.argv[1], 'rb'), Kind.CLIP, IntakeSettings())"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(hostile)]) as asking:
        children = Path(f"/proc/{asking.pid}/task/{asking.pid}/children")
        wait_until(children.read_text, what="the decoder to be started")
        decoder = Path("/proc") / children.read_text().split()[0]
        wait_until(lambda: b"farm.intake.decoder" in (decoder / "cmdline").read_bytes(), what="it to be one")
        # it has asked for the signal before it opens anything
        wait_until(lambda: b"libav" in (decoder / "maps").read_bytes(), what="it to decode")
        os.kill(int(decoder.name), signal.SIGSTOP)  # so that it does not end by itself
        asking.kill()
    try:
        wait_until(lambda: ended(decoder), what="the decoder to end with it")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(decoder.name), signal.SIGKILL)
