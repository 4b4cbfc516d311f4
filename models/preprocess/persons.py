"""Where the person of a clip is: RT-DETRv2 sees people in each frame, a track keeps to one of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.planning.request import RenderFault

#: the detector's own input, in pixels; it does not keep the shape
_SIDE = 640
#: seen less surely than this is not seen
SURE = 0.5
#: a second person counts when it is at least this share of the first one's area
_BYSTANDER = 0.25
#: frames that the person may be missed in, one after the other, before the clip is refused
_MISSED = 8


@dataclass(frozen=True)
class Box:
    """Pixels of the frame, and how sure the detector is."""

    left: float
    top: float
    right: float
    bottom: float
    score: float

    @property
    def area(self) -> float:
        """Pixels that the box covers."""
        return max(0.0, self.right - self.left) * max(0.0, self.bottom - self.top)

    def overlap(self, other: "Box") -> float:
        """Shared area as a share of both together, [0, 1]."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(0.0, wide) * max(0.0, high)
        return shared / (self.area + other.area - shared) if shared else 0.0


class Detector:
    """RT-DETRv2 from a local folder."""

    def __init__(self, folder: Path, device: Any) -> None:
        from transformers import RTDetrV2ForObjectDetection

        self._model = RTDetrV2ForObjectDetection.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self._model.to(device).eval()
        self._person = self._model.config.label2id.get("person", 0)
        self._device = device

    def people(self, frame: Any) -> list[Box]:
        """Everyone in a frame (H, W, 3), largest first, each once."""
        import numpy as np
        import torch
        from PIL import Image

        height, width = frame.shape[:2]
        small = Image.fromarray(frame).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.asarray(small).copy()).to(self._device).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            seen = self._model(pixel_values=pixels)
        scores = seen.logits[0, :, self._person].sigmoid().tolist()
        boxes = [
            Box((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height, score)
            for (x, y, w, h), score in zip(seen.pred_boxes[0].tolist(), scores, strict=True)
        ]
        once: list[Box] = []
        for box in sorted(boxes, key=lambda box: -box.score):
            if all(box.overlap(kept) < 0.6 for kept in once):
                once.append(box)
        return sorted(once, key=lambda box: -box.area)


class Track:
    """The one person that a clip is about, from frame to frame.

    sure        detections below this score do not count; 0 takes the best there is (weights that were never trained)
    several     "refuse" a clip with several people, or follow the "largest"
    """

    def __init__(self, fps: float, sure: float = SURE, several: str = "refuse") -> None:
        self._fps, self._sure, self._several = fps, sure, several
        self._last: Box | None = None
        self._missed = 0

    def follow(self, number: int, people: list[Box]) -> Box:
        """The person's box in frame `number`. RenderFault invalid_input naming the frame when there is none, or more
        than one."""
        if self._sure == 0:
            return max(people, key=lambda box: box.score)
        seen = [box for box in people if box.score >= self._sure]
        if not seen:
            self._missed += 1
            if self._last is None or self._missed > _MISSED:
                raise RenderFault(
                    "invalid_input", f"no person is seen in {named(number - self._missed + 1, self._fps)}"
                )
            return self._last
        self._missed = 0
        others = [box for box in seen[1:] if box.area >= seen[0].area * _BYSTANDER]
        if others and self._several == "refuse":
            raise RenderFault(
                "invalid_input",
                f"{1 + len(others)} people are seen in {named(number, self._fps)}; Animate follows one. "
                'Cut the clip, or send the option "several": "largest"',
            )
        last = self._last
        self._last = seen[0] if last is None else max(seen, key=lambda box: (box.overlap(last), box.area))
        return self._last


def named(number: int, fps: float) -> str:
    """A frame as its owner finds it: its number from 0, and its time."""
    return f"frame {number} ({number / fps:.2f} s)"
