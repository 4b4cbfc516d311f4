"""Clips, read in one way by everybody: frames as a viewer sees them, at a constant rate whatever the file's timing.

Intake reads what tenants send with it, in a child process; a render reads what intake made of that.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from models.media.timing import Timing, timing_of
from models.media.upright import FrameView, TrackTags, Upright, view_of
from models.planning.frame_rate import counted, slack_s
from models.planning.request import RenderFault

_UNREADABLE = "the clip is broken or cut off"


@dataclass(frozen=True)
class ClipFacts:
    """width and height as it is seen (upright, square pixels), fps as it is read, start_s of the first frame on the
    file's clock, whether there is sound, and how many frames there are at that rate."""

    width: int
    height: int
    fps: Fraction
    start_s: Fraction
    sound: bool
    about: int


@dataclass(frozen=True)
class Survey:
    """What the packets of a clip tell before a frame is decoded. seconds: of picture; ends_s: the end of the last
    packet of any stream; packets: those that hold a frame."""

    timing: Timing
    seconds: float
    ends_s: float
    packets: int


def probe(path: str | Path) -> ClipFacts:
    """What a clip is, from its packets and its first frame. RenderFault invalid_input when it holds no picture."""
    with _opened(path) as (box, stream):
        timing, sound = survey(box, stream).timing, bool(box.streams.audio)
    with _opened(path) as (box, stream):
        track = TrackTags.of(stream)
        for frame in box.decode(stream):
            view = view_of(frame, track)
            about = counted(timing.long_s, timing.own, timing.rate)
            return ClipFacts(view.width, view.height, timing.rate, timing.start_s, sound, about)
    raise RenderFault("invalid_input", "the clip has no frame")


def read(path: str | Path, fps: Fraction | float | None = None, most: int | None = None) -> Iterator[Any]:
    """The clip's frames at `fps` (its own when None): uint8 (H, W, 3) RGB, upright, at constant intervals.

    Each is the file's frame nearest in time, so a clip of constant rate read at its own rate gives every frame once.
    RenderFault invalid_input when it cannot be decoded, or has more than `most` frames.
    """
    with _opened(path) as (box, stream):
        timing = survey(box, stream).timing
    rate = Fraction(fps) if fps is not None else timing.rate
    with _opened(path) as (box, stream):
        stream.thread_type = "AUTO"
        track = TrackTags.of(stream)
        seen = upright(((frame, view_of(frame, track)) for frame in box.decode(stream)), "rgb24")
        timed = ((time_of(frame), shown) for frame, shown in seen)
        for number, shown in enumerate(paced(timed, rate, timing)):
            if most is not None and number >= most:
                raise RenderFault("invalid_input", f"the clip has more than {most} frames at {float(rate):g} fps")
            yield shown.to_ndarray()


def picture_stream(box: Any) -> Any:
    """The stream that a player shows, None when there is none: the cover of an album is no clip."""
    streams = [s for s in box.streams.video if not s.disposition & s.disposition.attached_pic]
    best = box.streams.best("video") if streams else None
    return best if best in streams else next(iter(streams), None)


def survey(box: Any, stream: Any, most: int | None = None) -> Survey:
    """Read every packet and decode none. RenderFault invalid_input when the stream has none with a time, or more than
    `most`."""
    times, ends_s, begin, end, packets = [], 0.0, None, Fraction(0), 0
    for packet in box.demux([stream, *box.streams.audio]):
        at = packet.dts if packet.pts is None else packet.pts
        if packet.size == 0 or at is None:
            continue
        begins = Fraction(at * packet.time_base)
        ends = begins + (packet.duration or 0) * packet.time_base
        ends_s = max(ends_s, float(ends))
        if packet.stream_index != stream.index:
            continue
        packets += 1
        if most is not None and packets > most:
            raise RenderFault("invalid_input", f"the clip has more than {most} frames")
        begin, end = min(begins, begins if begin is None else begin), max(end, ends)
        if not packet.is_discard:
            times.append(begins)
    if begin is None or not times:
        raise RenderFault("invalid_input", "the clip has no frame")
    told = stream.average_rate
    timing = timing_of(times, Fraction(stream.time_base), Fraction(told) if told else None)
    # the last frame is shown for as long as any
    end = max(end, timing.start_s + timing.long_s + 1 / timing.own)
    return Survey(timing, float(end - begin), ends_s, packets)


def upright(frames: Iterable[tuple[Any, FrameView]], form: str) -> Iterator[tuple[Any, Any]]:
    """(frame, the same as it is seen, in `form`) for each; all of the first one's size."""
    convert = None
    try:
        for frame, view in frames:
            convert = convert or Upright((view.width, view.height), form)
            at, base = frame.pts, frame.time_base
            shown = convert(frame, view)
            frame.pts, frame.time_base = at, base
            yield frame, shown
    finally:
        if convert is not None:
            convert.close()


def paced(frames: Iterable[tuple[Fraction, Any]], rate: Fraction, timing: Timing) -> Iterator[Any]:
    """One of the source's frames, (time, frame), for each tick of `rate`: the nearest in time."""
    slack = slack_s(timing.own, rate)
    tick, first, last, before = 0, None, None, Fraction(0)
    for at, frame in frames:
        first = at if first is None else first
        now = at - first
        # of two that are near each other, each has its half
        until = now - min(slack, (now - before) / 2)
        while last is not None and tick / rate < until:
            yield last
            tick += 1
        last, before = frame, now
    while last is not None and tick / rate < before + 1 / timing.own - slack:
        yield last
        tick += 1


def time_of(frame: Any) -> Fraction:
    """When a decoded frame is shown, in seconds on the file's clock."""
    return frame.pts * frame.time_base if frame.pts is not None else Fraction(0)


@contextmanager
def _opened(source: str | Path | BinaryIO) -> Iterator[tuple[Any, Any]]:
    """(container, the stream of its picture)."""
    import av

    try:
        with av.open(str(source)) as box:
            stream = picture_stream(box)
            if stream is None:
                raise RenderFault("invalid_input", "the clip has no picture, only sound")
            yield box, stream
    except (av.FFmpegError, OSError) as error:
        raise RenderFault("invalid_input", _UNREADABLE) from error
