"""Clips of every kind, drawn and encoded here: what a viewer shows of them is known because it was drawn first.

The way from the drawing to the file's numbers is written out in numpy, from the standards and not from the code that is
tested.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import combinations, product
from typing import Any

import av
import numpy as np

#: of the picture as it is seen, pixels
WIDTH, HEIGHT = 96, 72
FRAMES = 8
#: colours of three quarters; the fourth tells the frame's number
RED, GREEN, BLUE = (190, 50, 40), (40, 180, 60), (50, 60, 200)

CONTAINERS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm"}
ENCODERS = {
    "h264": ("libx264", {"crf": "2", "preset": "ultrafast"}),
    "hevc": ("libx265", {"crf": "2", "preset": "ultrafast", "x265-params": "log-level=none"}),
    "vp8": ("libvpx", {"crf": "4", "b": "5M", "deadline": "realtime"}),
    "vp9": ("libvpx-vp9", {"lossless": "1", "deadline": "realtime", "cpu-used": "8"}),
    "mpeg4": ("mpeg4", {"qscale": "1", "flags": "+qscale", "global_quality": "118"}),
    "mjpeg": ("mjpeg", {"flags": "+qscale", "global_quality": "118"}),
    "ffv1": ("ffv1", {}),
    "prores": ("prores_ks", {}),
}
#: 10 bits, which HDR needs; the wheel encodes VP9 in 8 only
DEEP = frozenset({"h264", "hevc", "prores"})
HOLDS = {
    "mp4": {"h264", "hevc", "vp9", "mpeg4"},
    "mov": {"h264", "hevc", "mpeg4", "mjpeg", "prores"},
    "mkv": {"h264", "hevc", "vp8", "vp9", "mpeg4", "mjpeg", "ffv1"},
    "webm": {"vp8", "vp9"},
}
#: matrix of the track -> how the picture as it is seen becomes the one in the file
TURNS: dict[str, tuple[tuple[int, int, int, int], Any]] = {
    "upright": ((1, 0, 0, 1), lambda seen: seen),
    "clockwise": ((0, 1, -1, 0), lambda seen: np.rot90(seen, 1)),
    "upside down": ((-1, 0, 0, -1), lambda seen: np.rot90(seen, 2)),
    "counterclockwise": ((0, -1, 1, 0), lambda seen: np.rot90(seen, -1)),
    "mirrored": ((-1, 0, 0, 1), lambda seen: seen[:, ::-1]),
    "flipped": ((1, 0, 0, -1), lambda seen: seen[::-1]),
    "transposed": ((0, 1, 1, 0), lambda seen: seen.swapaxes(0, 1)),
    "transversed": ((0, -1, -1, 0), lambda seen: seen[::-1, ::-1].swapaxes(0, 1)),
}
ASPECTS = {"1:1": Fraction(1), "4:3": Fraction(4, 3), "2:3": Fraction(2, 3)}
#: the rate, and times of frames in ticks of it; None: one after the other
RATES: dict[str, tuple[Fraction, tuple[int, ...] | None]] = {
    "24": (Fraction(24), None),
    "23.976": (Fraction(24000, 1001), None),
    "60": (Fraction(60), None),
    "120": (Fraction(120), None),
    "one dropped": (Fraction(25), (0, 1, 2, 3, 4, 6, 7, 8)),
    "changing": (Fraction(30), (0, 1, 4, 5, 8, 9, 11, 14)),
}
#: Kr, Kb of the matrices
_WEIGHTS = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}
#: matrix, whole range, (libav's numbers of primaries, transfer, matrix) that the file tells
COLOURS: dict[str, tuple[str, bool, tuple[int, int, int]]] = {
    "untagged": ("601", False, (2, 2, 2)),
    "709": ("709", False, (1, 1, 1)),
    "709 full": ("709", True, (1, 1, 1)),
    "HLG": ("2020", False, (9, 18, 9)),
    "PQ": ("2020", False, (9, 16, 9)),
    "P3": ("709", False, (12, 1, 1)),
}
HDR = frozenset({"HLG", "PQ"})
#: encoder, layout, seconds beyond the picture
SOUNDS: dict[str, tuple[str, str, float] | None] = {
    "none": None,
    "aac": ("aac", "stereo", 0.0),
    "aac 7.1": ("aac", "7.1", 0.0),
    "pcm 5.1": ("pcm_s16le", "5.1", 0.0),
    "opus longer": ("libopus", "stereo", 1.0),
    "mp3 mono": ("libmp3lame", "mono", 0.0),
}
SOUND_HOLDS = {
    "mp4": {"none", "aac", "aac 7.1", "mp3 mono", "opus longer"},
    "mov": {"none", "aac", "pcm 5.1", "aac 7.1"},
    "mkv": set(SOUNDS),
    "webm": {"none", "opus longer"},
}


@dataclass(frozen=True)
class Kind:
    """One clip of the matrix, by the names of the tables."""

    container: str
    codec: str
    turn: str
    aspect: str
    rate: str
    colour: str
    sound: str

    @property
    def possible(self) -> bool:
        return (
            self.codec in HOLDS[self.container]
            and self.sound in SOUND_HOLDS[self.container]
            and (self.turn == "upright" or self.container in ("mp4", "mov"))
            and (self.colour not in HDR or self.codec in DEEP)
            # these say nothing about colours but what the format means
            and (self.codec not in ("vp8", "mpeg4", "ffv1") or self.colour == "untagged")
            and (self.codec != "mjpeg" or self.colour == "601 full")
            and (self.codec != "prores" or "full" not in self.colour)
            # the pixel aspect of a Matroska track cannot be set from here; a codec's own can
            and (self.aspect == "1:1" or self.container in ("mp4", "mov") or self.codec in ("h264", "hevc"))
        )


COLOURS["601 full"] = ("601", True, (2, 2, 5))
_TABLES = (CONTAINERS, ENCODERS, TURNS, ASPECTS, RATES, COLOURS, SOUNDS)


def matrix() -> list[Kind]:
    """Few clips in which every two values of different columns that go together meet."""
    everything = [kind for kind in _product() if kind.possible]
    places = [{value: at for at, value in enumerate(table)} for _, table in _columns()]
    columns = np.array(
        # not astuple, which copies deeply: every process of a parallel run does this while it collects
        [[place[value] for place, value in zip(places, vars(kind).values(), strict=True)] for kind in everything]
    ).T
    # every pair of values of two columns has a number: (clips, pairs of columns)
    pairs, first = np.empty((len(everything), 0), int), 0
    for (n, (_, left)), (m, (_, right)) in combinations(enumerate(_columns()), 2):
        pairs = np.column_stack([pairs, first + columns[n] * len(right) + columns[m]])
        first += len(left) * len(right)
    missing = np.zeros(first, bool)
    missing[pairs] = True
    chosen = []
    rng = np.random.default_rng(3)
    order = rng.permutation(len(everything))
    while missing.any():
        # the best of a sample: the best of all takes a minute to find, and saves three clips
        at = order[rng.integers(0, len(order), 400)]
        best = at[missing[pairs[at]].sum(axis=1).argmax()]
        if not missing[pairs[best]].any():
            best = order[missing[pairs[order]].any(axis=1).argmax()]
        chosen.append(everything[best])
        missing[pairs[best]] = False
    return chosen


def _columns() -> list[tuple[str, list[str]]]:
    """Names of the columns, and the values of each."""
    return [(field.name, list(table)) for field, table in zip(fields(Kind), _TABLES, strict=True)]


def _product() -> Iterator[Kind]:
    """All of whose containers hold the codec and the sound: most do not."""
    for container, codec, sound in product(CONTAINERS, ENCODERS, SOUNDS):
        if codec in HOLDS[container] and sound in SOUND_HOLDS[container]:
            turns = TURNS if container in ("mp4", "mov") else ("upright",)
            for turn, aspect, rate, colour in product(turns, ASPECTS, RATES, COLOURS):
                yield Kind(container, codec, turn, aspect, rate, colour, sound)


def shade(number: int) -> int:
    return 50 + 20 * number


def drawn(number: int) -> Any:
    """Frame `number` as it is seen: uint8 (HEIGHT, WIDTH, 3)."""
    seen = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    seen[: HEIGHT // 2, : WIDTH // 2], seen[: HEIGHT // 2, WIDTH // 2 :] = RED, GREEN
    seen[HEIGHT // 2 :, : WIDTH // 2], seen[HEIGHT // 2 :, WIDTH // 2 :] = BLUE, shade(number)
    return seen


def encoded(kind: Kind) -> bytes:
    """The clip, FRAMES long."""
    rate, ticks = RATES[kind.rate]
    encoder, options = ENCODERS[kind.codec]
    primaries, transfer, told = COLOURS[kind.colour][2]
    pictures = [_in_file(kind, drawn(number)) for number in range(FRAMES)]
    out = io.BytesIO()
    with av.open(out, "w", format=CONTAINERS[kind.container]) as box:
        stream: Any = box.add_stream(encoder, rate=rate, options=options)
        stream.height, stream.width = pictures[0].height, pictures[0].width
        stream.pix_fmt = pictures[0].format.name
        context = stream.codec_context
        context.time_base = 1 / rate
        context.sample_aspect_ratio = ASPECTS[kind.aspect]
        context.color_primaries, context.color_trc, context.colorspace = primaries, transfer, told
        context.color_range = 2 if COLOURS[kind.colour][1] else 1
        if kind.turn != "upright":
            a, b, c, d = TURNS[kind.turn][0]
            stream.set_display_matrix([v << 16 for v in (a, b)] + [0] + [v << 16 for v in (c, d)] + [0, 0, 0, 1 << 30])
        sound = SOUNDS[kind.sound]
        track: Any = box.add_stream(sound[0], rate=48_000) if sound else None
        if sound:
            track.layout = sound[1]
        for number, picture in enumerate(pictures):
            picture.pts, picture.time_base = number if ticks is None else ticks[number], 1 / rate
            box.mux(stream.encode(picture))
        box.mux(stream.encode(None))
        if sound:
            _tone(box, track, sound[1], float((ticks[-1] + 1 if ticks else FRAMES) / rate) + sound[2])
    return out.getvalue()


def _tone(box: Any, track: Any, layout: str, seconds: float) -> None:
    channels = len(av.AudioLayout(layout).channels)
    tone = (np.sin(np.arange(int(48_000 * seconds)) / 20) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.repeat(tone, channels)[None], format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    size = track.codec_context.frame_size or 1024
    resampler = av.AudioResampler(track.format.name, layout, 48_000, size)
    for piece in (*resampler.resample(frame), *resampler.resample(None)):
        box.mux(track.encode(piece))
    box.mux(track.encode(None))


def _in_file(kind: Kind, seen: Any) -> Any:
    """The frame as the file holds it: turned, squeezed, in its numbers."""
    stored = TURNS[kind.turn][1](seen)
    aspect = ASPECTS[kind.aspect]
    high, wide = stored.shape[:2]
    if aspect > 1:
        wide = int(wide / aspect)
    else:
        high = int(high * aspect)
    stored = stored[np.arange(high) * stored.shape[0] // high][:, np.arange(wide) * stored.shape[1] // wide]
    deep = kind.colour in HDR or kind.codec == "prores"
    return _frame(kind, stored, 10 if deep else 8)


def _frame(kind: Kind, rgb: Any, bits: int) -> Any:
    matrix, full, _ = COLOURS[kind.colour]
    signal = _signal(rgb / 255, kind.colour)
    kr, kb = _WEIGHTS[matrix]
    y = signal @ [kr, 1 - kr - kb, kb]
    u, v = (signal[..., 2] - y) / (2 - 2 * kb), (signal[..., 0] - y) / (2 - 2 * kr)
    most = 2**bits - 1
    unit = 2 ** (bits - 8)
    if full:
        y, u, v = y * most, u * most + 2 ** (bits - 1), v * most + 2 ** (bits - 1)
    else:
        y, u, v = (y * 219 + 16) * unit, (u * 224 + 128) * unit, (v * 224 + 128) * unit
    down = 1 if kind.codec == "prores" else 2
    planes = [np.clip(np.round(p), 0, most) for p in (y, u[::down, ::2], v[::down, ::2])]
    name = {("prores", 10): "yuv422p10le", ("mjpeg", 8): "yuvj420p"}.get(
        (kind.codec, bits), "yuv420p10le" if bits == 10 else "yuv420p"
    )
    frame = av.VideoFrame(rgb.shape[1], rgb.shape[0], name)
    for plane, numbers in zip(frame.planes, planes, strict=True):
        padded = np.zeros(
            (plane.height, plane.line_size // (2 if bits > 8 else 1)), np.uint16 if bits > 8 else np.uint8
        )
        padded[:, : plane.width] = numbers
        plane.update(padded)
    _, _, told = COLOURS[kind.colour][2]
    frame.colorspace, frame.color_range = told, 2 if full else 1
    return frame


def _signal(shown: Any, colour: str) -> Any:
    """R'G'B' of the file for what a standard display is to show, both in [0, 1]."""
    light = shown**2.2
    if colour in HDR:
        light = light @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]).T
    if colour == "HLG":
        scene = light * 0.26496
        return np.where(
            scene <= 1 / 12,
            np.sqrt(3 * scene),
            0.17883277 * np.log(np.maximum(12 * scene, 1) - 0.28466892 + 1e-12) + 0.55991073,
        )
    if colour == "PQ":
        nits = light * 203 / 10_000
        power = nits**0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    if colour == "P3":
        wide = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])
        return np.clip(light @ wide.T, 0, 1) ** (1 / 2.2)
    return shown
