"""What the numbers of a clip's frames mean, and how they become standard BT.709. Pure but for the table's file.

Three questions: the matrix between RGB and Y'CbCr, the range, and (for HDR and wide gamuts) what light the RGB stands
for. The first two are libswscale's to answer; the third is a table of 3D colours that `table` writes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

#: libav's numbers of a matrix -> the name that the scale filter takes
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
#: neither is stated, or the frame is RGB itself
_RGB, UNTOLD = 0, 2
#: pictures at least as high or wide as this are HD: untagged ones are BT.709, smaller ones BT.601
_HD_HEIGHT, _HD_WIDTH = 720, 1280
#: transfers whose displays differ too little for anybody to convert them: BT.709, BT.601, sRGB, BT.2020, xvYCC
_COMMON_TRANSFERS = frozenset({UNTOLD, 0, 1, 4, 5, 6, 7, 11, 12, 13, 14, 15})
_PQ, _HLG, _LINEAR = 16, 18, 8
_COMMON_PRIMARIES = frozenset({UNTOLD, 0, 1, 4, 5, 6, 7, 22})
#: x, y of red, green, blue of the gamuts that are converted; the white is D65 (DCI's own white is taken as that)
_GAMUTS = {
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_BT709 = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_D65 = (0.3127, 0.3290)
#: cd/m2: of reference white (BT.2408), and the top of PQ
_WHITE, _PQ_PEAK = 203.0, 10_000.0
#: HLG's number of reference white (BT.2408)
_HLG_WHITE = 0.75
#: relative to reference white: brighter than this is compressed instead of clipped
_KNEE = 0.8
#: exponent of a standard display
_GAMMA = 2.2
#: points of the table along each axis
_POINTS = 41


@dataclass(frozen=True)
class Tags:
    """What a frame, or its container, says of its colours: libav's numbers."""

    primaries: int
    transfer: int
    matrix: int
    range: int

    @classmethod
    def of(cls, teller: Any) -> Self:
        """`teller`: a frame, or a codec's context."""
        return cls(teller.color_primaries, teller.color_trc, teller.colorspace, teller.color_range)


@dataclass(frozen=True)
class Colours:
    """matrix    as the scale filter calls it
    full      whether numbers use the whole range
    light     (primaries, transfer), libav's numbers, when a table has to convert them; None for a standard picture
    unknown   what is not converted, in words for the clip's owner; None when all is
    rgb       there is no matrix to undo
    """

    matrix: str
    full: bool
    light: tuple[int, int] | None = None
    unknown: str | None = None
    rgb: bool = False


def of_frame(frame: Any, container: Tags) -> Colours:
    """The colours of a decoded video frame: as it says, else as its container does, and as players guess where neither
    does."""
    name, own = frame.format.name, Tags.of(frame)
    space = container.matrix if own.matrix == UNTOLD else own.matrix
    rgb = space == _RGB and (frame.format.is_rgb or name.startswith("gbr"))
    hd = frame.height >= _HD_HEIGHT or frame.width >= _HD_WIDTH
    guessed = "bt709" if hd else "smpte170m"
    matrix = guessed if rgb else _MATRICES.get(space, guessed)
    full = rgb or (own.range or container.range) == 2 or name.startswith("yuvj")
    unknown = None
    if not rgb and space not in (*_MATRICES, _RGB, UNTOLD):
        unknown = f"its colour matrix (number {space}) is not known here, and was taken as {guessed}"
    light, odd = _light(_told(own.primaries, container.primaries), _told(own.transfer, container.transfer))
    return Colours(matrix, full, light, unknown or odd, rgb)


def _told(by_frame: int, by_container: int) -> int:
    return by_container if by_frame in (0, UNTOLD) else by_frame


def _light(primaries: int, transfer: int) -> tuple[tuple[int, int] | None, str | None]:
    """(what a table has to convert, what nobody here can)."""
    if transfer not in (_COMMON_TRANSFERS | {_PQ, _HLG, _LINEAR}):
        return None, f"its transfer curve (number {transfer}) is not known here, and was taken as BT.709"
    if primaries not in _COMMON_PRIMARIES and primaries not in _GAMUTS:
        return None, f"its colour primaries (number {primaries}) are not known here, and were taken as BT.709"
    if transfer in _COMMON_TRANSFERS and primaries in _COMMON_PRIMARIES:
        return None, None
    if transfer in (_PQ, _HLG) and primaries in _COMMON_PRIMARIES - {1}:
        # nobody films HDR in BT.601's primaries: what does not tell its gamut has the usual one
        primaries = 9
    return (primaries, transfer), None


def table(light: tuple[int, int], path: Path) -> None:
    """Write the table for lut3d, a .cube file: R'G'B' of `light` to R'G'B' of BT.709 on a standard display."""
    import numpy as np

    axis = np.linspace(0.0, 1.0, _POINTS)
    # red changes fastest
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    colours = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    values = converted(colours, light)
    # in one piece: numpy's own writer takes a second
    lines = "%.6f %.6f %.6f\n" * len(values) % tuple(values.ravel().tolist())
    path.write_text(f"LUT_3D_SIZE {_POINTS}\n{lines}")


def converted(colours: Any, light: tuple[int, int]) -> Any:
    """R'G'B' in [0, 1], an array (n, 3), as a standard BT.709 display is to be sent them."""
    import numpy as np

    primaries, transfer = light
    linear = _TO_LIGHT.get(transfer, lambda numbers: numbers**_GAMMA)(colours)
    if primaries in _GAMUTS:
        linear = linear @ (np.linalg.inv(_to_xyz(_BT709)) @ _to_xyz(_GAMUTS[primaries])).T
    linear = np.clip(linear, 0.0, None)
    if transfer in (_PQ, _HLG):
        linear = _compressed(linear)
    return np.clip(linear, 0.0, 1.0) ** (1 / _GAMMA)


def _pq(numbers: Any) -> Any:
    """SMPTE ST 2084 to light, 1 is reference white."""
    import numpy as np

    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = numbers ** (1 / m2)
    return (np.clip(root - c1, 0, None) / (c2 - c3 * root)) ** (1 / m1) * _PQ_PEAK / _WHITE


def _hlg(numbers: Any) -> Any:
    """ARIB STD-B67 to light, 1 is reference white. The gamma that it gives a display depends on how bright that is
    (BT.2390); at that of a standard one it is about 1."""
    import numpy as np

    a, b, c = 0.17883277, 0.28466892, 0.55991073

    def scene(signal: Any) -> Any:
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)

    return scene(numbers) / scene(np.asarray(_HLG_WHITE))


_TO_LIGHT: dict[int, Callable[[Any], Any]] = {_PQ: _pq, _HLG: _hlg, _LINEAR: lambda numbers: numbers}


def _compressed(linear: Any) -> Any:
    """What is brighter than the knee approaches white without reaching it; hues stay."""
    import numpy as np

    peak = linear.max(axis=-1, keepdims=True)
    room = 1 - _KNEE
    bent = np.where(peak > _KNEE, _KNEE + room * (1 - np.exp(-(peak - _KNEE) / room)), peak)
    return linear * np.divide(bent, peak, out=np.ones_like(peak), where=peak > 0)


def _to_xyz(gamut: tuple[tuple[float, float], ...]) -> Any:
    """Linear RGB of a gamut to XYZ, its white being D65."""
    import numpy as np

    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in gamut]).T
    white = np.array([_D65[0] / _D65[1], 1.0, (1 - _D65[0] - _D65[1]) / _D65[1]])
    return columns * np.linalg.solve(columns, white)
