"""The sound of an input clip in the result, kept to the sample: copied where an MP4 gives it back exactly, else FLAC.

Nothing is assumed of a codec: each track is copied into an MP4 in memory first and both are decoded and compared
(some containers cut samples at the ends in ways that MP4 does not know).
"""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

#: what players take in an MP4
COPIED = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})


class Sound:
    """Every sound track of a clip on its way into an open output container.

    picture_s   the time of the clip's first frame on the file's clock
    end_s       sound from there on, in seconds after the first frame, is left out; None keeps all of it
    """

    def __init__(self, box: Any, path: Path, picture_s: Fraction, end_s: Fraction | None = None) -> None:
        import av

        self._box, self._picture_s, self._end_s = box, picture_s, end_s
        self._source = av.open(str(path))
        self._copied: set[int] = set()
        self._tracks: dict[int, Any] = {}
        for stream in self._source.streams.audio:
            if _survives(path, stream):
                self._copied.add(stream.index)
                self._tracks[stream.index] = box.add_stream_from_template(stream)
            else:
                track = box.add_stream("flac", rate=stream.rate)
                track.layout, track.format = stream.layout, "s16" if stream.format.bytes == 2 else "s32"
                self._tracks[stream.index] = track
        begins = [s.start_time * s.time_base for s in self._source.streams.audio if s.start_time is not None]
        self._start_s = min([picture_s, *begins])
        self._packets = self._made()
        self._next: Any = next(self._packets, None)

    @property
    def lead_s(self) -> Fraction:
        """Seconds that the sound begins before the picture: the result's picture waits as long, as in the clip."""
        return self._picture_s - self._start_s

    def until(self, now_s: Fraction) -> None:
        """Write everything up to a time of the result, so that sound and picture lie side by side in the file."""
        while self._next is not None and self._next.dts * self._next.time_base <= now_s:
            self._box.mux(self._next)
            self._next = next(self._packets, None)

    def finish(self) -> None:
        """Write the rest."""
        while self._next is not None:
            self._box.mux(self._next)
            self._next = next(self._packets, None)
        self._source.close()

    def _made(self) -> Iterator[Any]:
        if not self._tracks:
            return
        for packet in self._source.demux(*self._source.streams.audio):
            track = self._tracks[packet.stream.index]
            if packet.stream.index in self._copied:
                if packet.dts is not None and self._wanted(packet):
                    yield _moved(packet, track, self._start_s)
            else:
                yield from self._encoded(packet, track)
        for index, track in self._tracks.items():
            if index not in self._copied:
                yield from track.encode(None)

    def _encoded(self, packet: Any, track: Any) -> Iterator[Any]:
        for frame in packet.decode():
            if self._wanted(frame):
                frame.pts -= round(self._start_s / frame.time_base)
                yield from track.encode(frame)

    def _wanted(self, piece: Any) -> bool:
        return self._end_s is None or piece.pts * piece.time_base - self._picture_s < self._end_s


def _moved(packet: Any, track: Any, start_s: Fraction) -> Any:
    shift = round(start_s / packet.time_base)
    packet.pts -= shift
    packet.dts -= shift
    packet.stream = track
    return packet


def _survives(path: Path, stream: Any) -> bool:
    """Whether a copy of the track in an MP4 decodes to the same samples."""
    import av
    import numpy as np

    if stream.codec_context.codec.canonical_name not in COPIED:
        return False
    memory = io.BytesIO()
    try:
        with av.open(str(path)) as source, av.open(memory, "w", format="mp4") as box:
            track = box.add_stream_from_template(source.streams[stream.index])
            for packet in source.demux(source.streams[stream.index]):
                if packet.dts is not None:
                    box.mux(_moved(packet, track, Fraction(0)))
        memory.seek(0)
        with av.open(str(path)) as source, av.open(memory) as copy:
            before, after = _samples(source.streams[stream.index]), _samples(copy.streams.audio[0])
    except (av.error.FFmpegError, ValueError):
        return False
    return before.shape == after.shape and bool(np.array_equal(before, after))


def _samples(stream: Any) -> Any:
    """Every sample of a track as the decoder gives them, (channels, n) or interleaved."""
    import numpy as np

    parts = [frame.to_ndarray() for frame in stream.container.decode(stream)]
    return np.concatenate(parts, axis=1) if parts else np.zeros((1, 0))
