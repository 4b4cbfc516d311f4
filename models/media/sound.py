"""The sound of an input clip in the result: the tracks that intake wrote, copied as they are. Nothing is decoded."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any


class Sound:
    """Every sound track of a clip on its way into an open output container.

    picture_s   the time of the clip's first frame on the file's clock
    end_s       sound from there on, in seconds after the first frame, is left out; None keeps all of it
    """

    def __init__(self, box: Any, path: Path, picture_s: Fraction, end_s: Fraction | None = None) -> None:
        import av

        self._box, self._picture_s, self._end_s = box, picture_s, end_s
        self._source = av.open(str(path))
        self._tracks = {stream.index: box.add_stream_from_template(stream) for stream in self._source.streams.audio}
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
            if packet.dts is not None and self._wanted(packet):
                yield self._moved(packet)

    def _wanted(self, packet: Any) -> bool:
        return self._end_s is None or packet.pts * packet.time_base - self._picture_s < self._end_s

    def _moved(self, packet: Any) -> Any:
        shift = round(self._start_s / packet.time_base)
        track = self._tracks[packet.stream.index]
        packet.pts -= shift
        packet.dts -= shift
        packet.stream = track
        return packet
