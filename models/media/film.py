"""Frames on disk: a long clip at full size does not fit in memory several times over."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class Film:
    """Frames of one size, appended once and read in any order: uint8 (height, width, 3) or (height, width).

    They lie in an unnamed file of `folder`, which is gone with the last reference to it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, prefix="frames-")  # noqa: SIM115 - closed with the Film
        self._shape: tuple[int, ...] | None = None
        self._count = 0

    @classmethod
    def of(cls, folder: Path, frames: Iterable[Any]) -> "Film":
        """A film of these frames, in `folder`."""
        film = cls(folder)
        for frame in frames:
            film.append(frame)
        return film

    def append(self, frame: Any) -> None:
        """Add a frame, uint8 (H, W, C). ValueError when its shape differs from the first one's."""
        import numpy as np

        if self._shape is None:
            self._shape = frame.shape
        if frame.shape != self._shape:
            raise ValueError(f"a frame of {frame.shape} in a film of {self._shape}")
        self._file.write(np.ascontiguousarray(frame, dtype=np.uint8).data)
        self._count += 1

    def extend(self, frames: Iterable[Any]) -> None:
        """Add frames."""
        for frame in frames:
            self.append(frame)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Any:
        return self.array()[number]

    def array(self) -> Any:
        """All frames as one array (T, ...), read from disk as they are used."""
        import numpy as np

        if self._shape is None:
            raise ValueError("there are no frames")
        self._file.flush()
        return np.memmap(self._file, dtype=np.uint8, mode="r", shape=(self._count, *self._shape))

    def pictures(self, numbers: Sequence[int]) -> list[Any]:
        """Those frames as PIL pictures."""
        from PIL import Image

        frames = self.array()
        return [Image.fromarray(frames[number]) for number in numbers]

    def close(self) -> None:
        """Close, and so remove, the file."""
        self._file.close()
