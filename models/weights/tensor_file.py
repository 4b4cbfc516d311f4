"""Checks safetensors files while they arrive: the header against the format's rules, and that every number is finite.
Runs nothing of the file; needs no torch, knows no model and keeps no tensor."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: bytes; the header of a LoRA with every layer of a 14B model and its trainer's notes is a tenth of it
MAX_HEADER = 4 * 1024 * 1024
#: bytes of a number by type; other types are quantised or no numbers, and LoRAs are not trained in them
WIDTHS = {"F32": 4, "F16": 2, "BF16": 2}
#: single values may be whole numbers
_SCALARS = {**WIDTHS, "I64": 8, "I32": 4}
#: the exponent bits of a number that is not finite
_INFINITE = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}
_LENGTH = 8
_MOST_SIDES = 8
#: a LoRA with every layer of a 14B model has a fifth of them; each is looked at in the gateway
_MOST_TENSORS = 10_000
#: characters of a tensor's name
_MOST_NAME = 256


class BrokenFile(ValueError):
    """Not a valid safetensors file; the text says what is wrong and what to do."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file. `begin`, `end`: bytes from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorReader:
    """Feed it a file of `size` bytes from the beginning, in blocks of any length. Raises BrokenFile as soon as
    something is wrong.

    tensors     what the header names, in the order of their bytes; empty until it was read
    scalars     name -> the value of each tensor of one number, as far as was read
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._head: bytearray | None = bytearray()
        self._at = 0
        self._rest = b""
        self._next = 0
        self._order: list[tuple[str, Tensor]] = []
        self.tensors: dict[str, Tensor] = {}
        self.scalars: dict[str, float] = {}

    def feed(self, block: bytes) -> bool:
        """True when this block completed the header."""
        if self._head is None:
            self._numbers(block)
            return False
        self._head += block
        length = _header_length(bytes(self._head[: _LENGTH + 1]), self._size)
        if length is None or len(self._head) < _LENGTH + length:
            return False
        data_bytes = self._size - _LENGTH - length
        self.tensors = _tensors(bytes(self._head[_LENGTH : _LENGTH + length]), data_bytes)
        self._order = list(self.tensors.items())
        rest, self._head = bytes(self._head[_LENGTH + length :]), None
        self._numbers(rest)
        return True

    def done(self) -> None:
        """The file has ended."""
        if self._head is not None:
            raise BrokenFile("this is not a safetensors file: it ends before its header does")
        if self._rest or self._next < len(self._order):
            raise BrokenFile("the file is cut off")

    def _numbers(self, block: bytes) -> None:
        """Look at the data that came, tensor by tensor; a number that is not all there waits for the next block."""
        data, start = self._rest + block, self._at - len(self._rest)
        self._at += len(block)
        taken = 0
        while self._next < len(self._order):
            name, tensor = self._order[self._next]
            width = _SCALARS[tensor.dtype]
            begin = max(tensor.begin, start + taken)
            whole = (min(tensor.end, self._at) - begin) // width * width
            if whole:
                _look(self, name, tensor, data[begin - start : begin - start + whole])
                taken = begin - start + whole
            if begin + whole < tensor.end:
                break
            self._next += 1
        self._rest = data[taken:]


def _look(reader: TensorReader, name: str, tensor: Tensor, data: bytes) -> None:
    import numpy as np

    mask = _INFINITE.get(tensor.dtype)
    if mask is not None:
        bits = np.frombuffer(data, dtype="<u4" if tensor.dtype == "F32" else "<u2")
        if bool(((bits & mask) == mask).any()):
            raise BrokenFile(f"{name} holds numbers that are not finite: the training failed")
    if tensor.end - tensor.begin == len(data) == _SCALARS[tensor.dtype]:
        if tensor.dtype == "BF16":
            # the upper half of a 32-bit number
            value = np.frombuffer(b"\0\0" + data, dtype="<f4")[0]
        else:
            kinds = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}
            value = np.frombuffer(data, dtype=kinds[tensor.dtype])[0]
        reader.scalars[name] = float(value)


def _header_length(start: bytes, size: int) -> int | None:
    """Bytes of the header; None until its beginning is known. Says what else a file may be."""
    if size < _LENGTH + 2:
        raise BrokenFile("this is not a safetensors file: it is too short")
    if len(start) <= _LENGTH:
        return None
    if start[_LENGTH:] != b"{":
        # looked at second: the length of an honest header may begin with the same bytes
        for magic, what in ((b"PK", "a zip or PyTorch file"), (b"\x80", "a pickle"), (b"GGUF", "a GGUF file")):
            if start.startswith(magic):
                raise BrokenFile(
                    f"this is {what}, not a safetensors file, whatever its name says; pickles can run code and are "
                    "never read. Save the LoRA with safetensors.torch.save_file and upload that"
                )
    length = int.from_bytes(start[:_LENGTH], "little")
    if start[_LENGTH:] != b"{" or length < 2 or length > size - _LENGTH:
        raise BrokenFile("this is not a safetensors file: it does not begin with a header")
    if length > MAX_HEADER:
        raise BrokenFile(f"the header has {length} bytes; {MAX_HEADER} are allowed: this is no LoRA, or one with notes")
    return length


def _tensors(header: bytes, data_bytes: int) -> dict[str, Tensor]:
    """What the header names, in the order of the data, which it must cover without gap or overlap."""
    try:
        # decoded here: json would take UTF-16 too, which the engine's reader does not
        raw = json.loads(header.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BrokenFile(f"the safetensors header cannot be read: {ascii(str(error)[:100])[1:-1]}") from None
    if not isinstance(raw, dict):
        raise BrokenFile("the safetensors header is no object")
    if len(raw) > _MOST_TENSORS:
        raise BrokenFile(f"the header names {len(raw)} tensors; {_MOST_TENSORS} are allowed: this is no LoRA")
    if odd := next((name for name in raw if len(name) > _MOST_NAME or not name.isascii()), None):
        raise BrokenFile(f"{odd[:100]!a} is no name of a tensor: up to {_MOST_NAME} ASCII characters")
    if not _notes(raw.get("__metadata__", {})):
        raise BrokenFile("the notes (__metadata__) in the safetensors header are not texts under names")
    found = {name: _tensor(name, entry) for name, entry in raw.items() if name != "__metadata__"}
    ordered = sorted(found.items(), key=lambda item: (item[1].begin, item[1].end))
    end = 0
    for name, tensor in ordered:
        if tensor.begin != end:
            raise BrokenFile(f"the header lies: the bytes of {name} do not begin where the ones before end")
        end = tensor.end
    if end != data_bytes:
        raise BrokenFile(f"the header lies: it tells of {end} bytes of data, and there are {data_bytes}")
    return dict(ordered)


def _tensor(name: str, entry: Any) -> Tensor:
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or not _whole(shape) or not _whole(offsets) or len(offsets) != 2:
        raise BrokenFile(f"the header lies: the entry of {name[:100]} is not one of a tensor")
    if len(shape) > _MOST_SIDES:
        raise BrokenFile(f"{name[:100]} has {len(shape)} dimensions")
    count = 1
    for side in shape:
        count *= side
    known = WIDTHS if count != 1 else _SCALARS
    if dtype not in known:
        raise BrokenFile(f"{name[:100]} is stored as {dtype[:20]!a}; save the LoRA in {', '.join(WIDTHS)}")
    if offsets[1] - offsets[0] != count * known[dtype] or not count:
        raise BrokenFile(f"the header lies: {name[:100]} does not have as many bytes as its shape needs")
    return Tensor(dtype, tuple(shape), offsets[0], offsets[1])


def _notes(value: Any) -> bool:
    """Whether the engine's reader takes it for notes: texts under names, without half characters."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        return False
    try:
        for text in (*value, *value.values()):
            text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole(value: Any) -> bool:
    return isinstance(value, list) and all(type(side) is int and 0 <= side < 2**63 for side in value)


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"{name[:80]} stands in it twice")
        made[name] = value
    return made


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
