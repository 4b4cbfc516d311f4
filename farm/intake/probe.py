"""The child of farm.intake.clip: reads one clip or sound file from its standard input and prints what it is as JSON.

It opens nothing else: the demuxer is given, no protocol is allowed (a playlist inside a file would be a second
fetcher), and the kernel limits its time, memory and files.
"""

import json
import resource
import signal
import sys
import time
from fractions import Fraction
from typing import Any, BinaryIO

import av
from av.error import InvalidDataError

from models.planning.frame_rate import counted, steady

#: what a clip may be encoded with
_CODECS = "h264,hevc,vp8,vp9,av1,libdav1d,mpeg4,mpeg2video,mjpeg,prores,dnxhd,ffv1,libvpx,libvpx-vp9"
_SOUND_CODECS = (
    "aac,mp3,mp3float,flac,vorbis,opus,libopus,libvorbis,alac,"
    "pcm_s16le,pcm_s24le,pcm_s32le,pcm_f32le,pcm_u8,pcm_s16be,pcm_s24be"
)
#: seconds of CPU after which frames are no longer decoded, only counted
_DECODING_S = 15.0
#: part of the frames that may be spoiled: one lost block on a tape is no reason to refuse a clip
_TOLERATED = 0.02
#: part of the length that the header promises, and seconds, by which the video may end early: sound may be longer
_MISSING, _MISSING_S = 0.1, 0.25
_MIN_SIDE = 16
_BROKEN = "the {} is broken or cut off; encode it again and send the whole file"


class Refused(Exception):
    """A sentence for the file's owner."""


def main() -> None:
    """Look at the file on standard input within the limits of the command line, and print what it is as JSON."""
    asked = json.loads(sys.argv[1])
    _limit(asked)
    try:
        found = _look(sys.stdin.buffer, asked)
    except Refused as refused:
        found = {"refused": str(refused)}
    print(json.dumps(found))


def _limit(asked: dict[str, Any]) -> None:
    """The kernel ends this process at the limits: no code of a decoder is asked to."""
    resource.setrlimit(resource.RLIMIT_CPU, (asked["cpu_s"], asked["cpu_s"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (asked["memory"], asked["memory"]))
    signal.alarm(asked["wall_s"])


def _look(file: BinaryIO, asked: dict[str, Any]) -> dict[str, Any]:
    kind = "video" if asked["kind"] == "CLIP" else "audio"
    options = {"protocol_whitelist": "", "codec_whitelist": f"{_CODECS},{_SOUND_CODECS}"}
    try:
        with av.open(file, format=asked["demuxer"], options=options, metadata_errors="ignore") as box:
            return _clip(box, asked) if kind == "video" else _sound(box, asked)
    except Refused:
        raise
    except MemoryError:
        raise Refused(f"the {kind} takes too much memory to read; encode it again, plainly and smaller") from None
    except (av.FFmpegError, ValueError, ArithmeticError, IndexError, AttributeError):
        raise Refused(_BROKEN.format(kind)) from None


def _clip(box: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Every packet is read; every frame is decoded until the budget is spent, and an error in the bits is an error."""
    streams = [s for s in box.streams.video if not s.disposition & s.disposition.attached_pic]
    if not streams:
        raise Refused("the file holds no video")
    stream = streams[0]
    _check_size(stream.codec_context.width, stream.codec_context.height, asked)
    _check_length(_promised_s(box), asked)
    stream.codec_context.options = {"err_detect": "explode"}
    shown, frames, bad = None, 0, 0
    begin, end = float("inf"), 0.0
    first: Fraction | None = None
    last = Fraction(0)
    for packet in box.demux(stream):
        if packet.size > 0:
            frames += 1
            at = packet.dts if packet.pts is None else packet.pts
            if at is not None:
                begin = min(begin, float(at * packet.time_base))
                end = max(end, float((at + (packet.duration or 0)) * packet.time_base))
                _check_length(end - begin, asked)
                if not packet.is_discard:
                    now = Fraction(at * packet.time_base)
                    first, last = (now, now) if first is None else (min(first, now), max(last, now))
        if time.process_time() > _DECODING_S:
            continue
        try:
            for frame in packet.decode():
                _check_size(frame.width, frame.height, asked)
                shown = shown or frame
        except InvalidDataError:
            bad += 1
    if shown is None or end <= begin or first is None:
        raise Refused("the video has no picture that can be decoded; encode it again")
    seconds = end - begin
    promised_s = float(stream.duration * stream.time_base) if stream.duration else _promised_s(box)
    if bad > _TOLERATED * frames or seconds < (1 - _MISSING) * promised_s - _MISSING_S:
        raise Refused(_BROKEN.format("video"))
    turned = abs(round(shown.rotation)) % 180 == 90
    width, height = (shown.height, shown.width) if turned else (shown.width, shown.height)
    # frames and rate as a render will read them: at a constant rate, whatever the file's own timing
    rate = steady(Fraction(stream.average_rate or stream.guessed_rate or frames / seconds))
    count = counted(last - first, rate, rate)
    told = {"seconds": round(seconds, 3), "frames": count, "fps": round(float(rate), 6)}
    return {"width": width, "height": height, **told}


def _sound(box: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Decoded from end to end: sound is cheap."""
    if not box.streams.audio:
        raise Refused("the file holds no audio")
    _check_length(_promised_s(box), asked)
    seconds = 0.0
    for frame in box.decode(box.streams.audio[0]):
        seconds += frame.samples / frame.sample_rate
        _check_length(seconds, asked)
    if seconds == 0:
        raise Refused("the audio is empty")
    return {"seconds": round(seconds, 3)}


def _promised_s(box: Any) -> float:
    """Seconds by the header; 0 when it does not say."""
    return (box.duration or 0) / 1e6


def _check_length(seconds: float, asked: dict[str, Any]) -> None:
    # a tenth of a second of grace: containers round, and sound comes in blocks
    if seconds > asked["max_s"] + 0.1:
        raise Refused(f"{seconds:.4g} s are too long; {asked['max_s']:g} s are allowed. Cut it")


def _check_size(width: int, height: int, asked: dict[str, Any]) -> None:
    if width * height > asked["max_pixels"]:
        raise Refused(f"{width}x{height} pixels are too large; {asked['max_pixels'] / 1e6:.3g} million are allowed")
    if min(width, height) < _MIN_SIDE:
        raise Refused(f"{width}x{height} pixels are too few; the shorter side needs {_MIN_SIDE}")


if __name__ == "__main__":
    main()
