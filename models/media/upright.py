"""How a decoded frame is brought to what a viewer sees: upright, pixels that are square, standard BT.709 colours."""

import struct
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from models.media import colour
from models.media.colour import UNTOLD, Colours, Tags

#: the turn of a display matrix, signs of (a, b, c, d) -> libavfilter's name; the matrix moves (x, y) to
#: (a x + c y, b x + d y), y downwards
_TURNS = {
    (1, 0, 0, 1): "",
    (-1, 0, 0, 1): "hflip",
    (1, 0, 0, -1): "vflip",
    (-1, 0, 0, -1): "hflip,vflip",
    (0, 1, -1, 0): "transpose=clock",
    (0, -1, 1, 0): "transpose=cclock",
    (0, 1, 1, 0): "transpose=cclock_flip",
    (0, -1, -1, 0): "transpose=clock_flip",
}
#: pixel aspects beyond this are mistakes of a file, not shapes
_MAX_ASPECT = 4
#: pixels that are kept of a larger frame: twice what any model renders
MAX_PIXELS = 1920 * 1088
#: of one graph; as many as there are cores would leave none of a child's memory on a large machine
_THREADS = 2
_SCALE = "flags=bicubic+accurate_rnd+full_chroma_int"


@dataclass(frozen=True)
class TrackTags:
    """What a container says of a picture track. aspect: width of a pixel by its height, None when it does not say."""

    aspect: Fraction | None
    colours: Tags

    @classmethod
    def of(cls, stream: Any) -> Self:
        """Asked before a frame is decoded: some decoders put their own "unknown" in its place."""
        return cls(stream.sample_aspect_ratio, Tags.of(stream.codec_context))


@dataclass(frozen=True)
class FrameView:
    """How frames of one kind are seen. width, height: even, after turning; turn: a libavfilter name, "" for none.

    unknown     what could not be honoured, in words
    """

    width: int
    height: int
    turn: str
    colours: Colours
    unknown: str | None = None


def view_of(frame: Any, track: TrackTags) -> FrameView:
    """How a decoded frame of that track is seen."""
    turn, odd = _turn(frame)
    aspect = track.aspect
    wide, high = Fraction(frame.width), Fraction(frame.height)
    if aspect and Fraction(1, _MAX_ASPECT) <= aspect <= _MAX_ASPECT:
        # the side that is too short grows: nothing that was filmed is lost
        wide, high = (wide * aspect, high) if aspect > 1 else (wide, high / aspect)
    shrink = min(1.0, float(MAX_PIXELS / (wide * high)) ** 0.5)
    across, down = _even(wide * shrink), _even(high * shrink)
    if "transpose" in turn:
        across, down = down, across
    colours = colour.of_frame(frame, track.colours)
    return FrameView(across, down, turn, colours, "; ".join(filter(None, (odd, colours.unknown))) or None)


class Upright:
    """Brings frames to one size and format, whatever each of them is. Holds one filter graph per kind of frame.

    size        (width, height) of what comes out
    form        "rgb24", or "yuv420p" (BT.709, limited range)
    """

    def __init__(self, size: tuple[int, int], form: str) -> None:
        self._size, self._form = size, form
        self._graphs: dict[Any, Any] = {}
        self._tables: tempfile.TemporaryDirectory[str] | None = None

    def __call__(self, frame: Any, view: FrameView) -> Any:
        """The frame as it is seen; times are not kept."""
        key = (frame.format.name, frame.width, frame.height, view)
        if key not in self._graphs:
            # a clip that changes its mind with every frame must not fill memory with graphs
            self._graphs.clear()
            self._graphs[key] = self._graph(frame, view)
        graph = self._graphs[key]
        frame.pts = None
        # the filters need to know what the numbers mean, and refuse frames with values that they do not know
        frame.color_primaries = frame.color_trc = UNTOLD
        if not view.colours.rgb:
            frame.colorspace = UNTOLD
        graph.push(frame)
        return graph.pull()

    def close(self) -> None:
        """Remove the tables that were written."""
        self._graphs.clear()
        if self._tables is not None:
            self._tables.cleanup()

    def _graph(self, frame: Any, view: FrameView) -> Any:
        from av.filter import Graph

        graph = Graph()
        graph.threads = _THREADS
        links = [
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)),
            *(graph.add(name, arguments) for name, arguments in self._steps(view)),
            graph.add("buffersink"),
        ]
        for before, after in pairwise(links):
            before.link_to(after)
        graph.configure()
        return graph

    def _steps(self, view: FrameView) -> list[tuple[str, str]]:
        """Filters in order, (name, arguments)."""
        width, height = self._size
        if "transpose" in view.turn:
            width, height = height, width
        colours = view.colours
        range_in = "pc" if colours.full else "tv"
        taken = f"w={width}:h={height}:in_color_matrix={colours.matrix}:in_range={range_in}:{_SCALE}"
        given = "out_color_matrix=bt709:out_range=" + ("pc" if self._form == "rgb24" else "tv")
        turns = [tuple(f"{one}=".split("=")[:2]) for one in view.turn.split(",") if one]
        if colours.light is None:
            steps = [("scale", f"{taken}:{given}"), ("format", self._form)]
        else:
            steps = [
                ("scale", taken),
                ("format", "gbrp16le"),
                ("lut3d", f"file={self._table(colours.light)}:interp=tetrahedral"),
                ("scale", f"{given}:{_SCALE}"),
                ("format", self._form),
            ]
        return [*steps, *((name, arguments) for name, arguments in turns)]

    def _table(self, light: tuple[int, int]) -> Path:
        if self._tables is None:
            self._tables = tempfile.TemporaryDirectory(prefix="wanfarm-colours-")
        path = Path(self._tables.name) / f"{light[0]}-{light[1]}.cube"
        if not path.exists():
            colour.table(light, path)
        return path


def _turn(frame: Any) -> tuple[str, str | None]:
    """(turn, what is not honoured)."""
    from av.sidedata.sidedata import Type

    told = frame.side_data.get(Type.DISPLAYMATRIX)
    if told is None:
        return "", None
    a, b, _, c, d = struct.unpack("=5i", bytes(told)[:20])
    most = max(abs(a), abs(b), abs(c), abs(d))
    signs = tuple((one > most / 2) - (one < -most / 2) for one in (a, b, c, d))
    if most == 0 or signs not in _TURNS:
        return "", "it is turned by less than a quarter, which was left out"
    crooked = any(0 < abs(one) < most / 8 or most * 7 / 8 > abs(one) > most / 8 for one in (a, b, c, d))
    return _TURNS[signs], "it is turned by less than a quarter, which was left out" if crooked else None


def _even(side: Fraction | float) -> int:
    return max(2, round(side / 2) * 2)
