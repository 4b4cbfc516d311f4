"""A minimal ONNX file, written by hand: one convolution. The package that writes them is large, and used nowhere else.

The numbers are field numbers of onnx.proto."""

from typing import Any


def convolution(weights: Any, height: int, width: int, stride: int, beside: str | None = None) -> bytes:
    """A model (1, channels, height, width) float32 -> (1, out, ...), no padding. weights: (out, channels, k, k).

    beside      the file next to the model that holds the weights' bytes, which then are not in it
    """
    out, channels, side, _ = weights.shape
    strides = _field(1, b"strides") + _number(20, 7) + _number(8, stride) + _number(8, stride)
    node = _field(1, b"pixels") + _field(1, b"w") + _field(2, b"heat") + _field(4, b"Conv") + _field(5, strides)
    tensor = b"".join(_number(1, size) for size in weights.shape) + _number(2, 1)
    tensor += _field(8, b"w")
    if beside is None:
        tensor += _field(9, weights.tobytes())
    else:
        tensor += _field(13, _field(1, b"location") + _field(2, beside.encode())) + _number(14, 1)
    down, across = (height - side) // stride + 1, (width - side) // stride + 1
    graph = _field(1, node) + _field(2, b"g") + _field(5, tensor)
    graph += _field(11, _value(b"pixels", (1, channels, height, width)))
    graph += _field(12, _value(b"heat", (1, out, down, across)))
    return _number(1, 8) + _field(7, graph) + _field(8, _number(2, 13))


def _value(name: bytes, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_field(1, _number(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _number(1, 1) + _field(2, dims)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
