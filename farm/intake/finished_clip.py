"""A finished video of a provider: every frame is decoded, nothing is encoded; a poster is written. Runs in
farm.intake.decoder."""

import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.error import InvalidDataError

from farm.intake import tracks
from farm.intake.clip_rendition import check_size, stream_of
from farm.intake.refusal import Refused, broken, check_length
from models.media import clips
from models.media.poster import write_poster
from models.media.upright import TrackTags, view_of
from models.planning.request import RenderFault

#: part of the frames that may be spoiled: a broken video is not handed on as a result
_TOLERATED = 0.02
_MAX_FPS = 1000
#: pictures that the poster is chosen from
_CANDIDATES = 12


def keep(source: BinaryIO, out: BinaryIO, asked: dict[str, Any]) -> dict[str, Any]:
    """Write the poster (JPEG) to `out`; what the video is. Raises Refused."""
    try:
        with tracks.opened(source, asked["opens"]) as box:
            stream = stream_of(box)
            check_size(stream.codec_context.width, stream.codec_context.height, asked)
            survey = clips.survey(box, stream, most=int(asked["max_s"] * _MAX_FPS))
        check_length(survey.seconds, asked["max_s"])
        frames, shown = _decoded(source, asked, survey.packets)
        with tempfile.TemporaryDirectory(prefix="wanfarm-poster-") as folder:
            file = Path(folder) / "poster.jpg"
            write_poster(file, shown)
            out.write(file.read_bytes())
    except MemoryError:
        raise
    except RenderFault:
        raise Refused("the video has no picture that can be decoded") from None
    except (av.FFmpegError, ValueError, ArithmeticError, IndexError, AttributeError):
        raise broken("video") from None
    rate = float(survey.timing.rate)
    height, width = shown[0].shape[:2]
    return {
        "width": width,
        "height": height,
        "frames": frames,
        "fps": round(rate, 6),
        "seconds": round(frames / rate, 3),
        "notes": [],
    }


def _decoded(source: BinaryIO, asked: dict[str, Any], packets: int) -> tuple[int, list[Any]]:
    """(frames that can be decoded, some of them as they are seen)."""
    every, bad, count = max(1, packets // _CANDIDATES), 0, 0
    kept: list[Any] = []
    with tracks.opened(source, asked["opens"]) as box:
        stream = stream_of(box)
        stream.codec_context.options = {"err_detect": "explode"}
        stream.codec_context.thread_count = 2
        track = TrackTags.of(stream)

        def seen() -> Any:
            nonlocal bad, count
            for packet in box.demux(stream):
                try:
                    for frame in packet.decode():
                        check_size(frame.width, frame.height, asked)
                        count += 1
                        if (count - 1) % every == 0:
                            yield frame, view_of(frame, track)
                except InvalidDataError:
                    bad += 1

        for _, picture in clips.upright(seen(), "rgb24"):
            kept.append(picture.to_ndarray())
    if not kept:
        raise Refused("the video has no picture that can be decoded")
    if bad > _TOLERATED * packets:
        raise broken("video")
    return count, kept
