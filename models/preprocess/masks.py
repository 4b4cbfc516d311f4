"""Which pixels are the person: SAM 2 follows points of the skeleton through the clip; the mask is then made roomy."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from models.media.film import Film
from models.planning.request import RenderFault
from models.preprocess.keypoints import INSIDE, body
from models.preprocess.persons import named

#: frames that are followed in one go, and how many of them are shown points
_PIECE, _KEYS = 200, 4
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: the mask grows by this many pixels on every side: hair and clothes reach beyond what is seen
_ROOM = 9


class Masker:
    """SAM 2 for clips, from a local folder."""

    def __init__(self, folder: Path, device: Any) -> None:
        from transformers import Sam2VideoModel

        self._model = Sam2VideoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self._model.to(device).eval()
        self._device = device

    def masks(self, frames: Film, poses: list[Any], fps: float, each: Callable[[int], None]) -> Iterator[Any]:
        """For each frame (H, W, 3) a bool array (H, W). `poses` are in pixels of the frames.

        RenderFault invalid_input naming the frame where the person is lost.
        """
        for start in range(0, len(frames), _PIECE):
            numbers = range(start, min(start + _PIECE, len(frames)))
            for number, mask in zip(numbers, self._piece(frames, poses, numbers), strict=True):
                if not mask.any():
                    raise RenderFault("invalid_input", f"the person cannot be told apart in {named(number, fps)}")
                each(number)
                yield mask

    def _piece(self, frames: Film, poses: list[Any], numbers: range) -> Iterator[Any]:
        import torch
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        side = self._model.config.image_size
        array = frames.array()
        height, width = array.shape[1:3]
        session = Sam2VideoInferenceSession(
            video=torch.stack([self._pixels(array[number], side) for number in numbers]),
            video_height=height,
            video_width=width,
            inference_device=self._device,
            inference_state_device=self._device,
            dtype=torch.float32,
        )
        who = session.obj_id_to_idx(1)
        with torch.no_grad():
            for key in range(0, len(numbers), max(1, len(numbers) // _KEYS)):
                points = body(poses[numbers[key]])[list(INSIDE), :2] * (side / width, side / height)
                shown = {
                    "point_coords": torch.tensor(points, dtype=torch.float32)[None, None],
                    "point_labels": torch.ones(1, 1, len(INSIDE), dtype=torch.int32),
                }
                session.add_point_inputs(who, key, shown)
                session.remove_mask_inputs(who, key)
                session.obj_with_new_inputs = [1]
                self._model(inference_session=session, frame_idx=key)
            for answer in self._model.propagate_in_video_iterator(session, start_frame_idx=0):
                logits = torch.nn.functional.interpolate(answer.pred_masks.float(), (height, width), mode="bilinear")
                yield (logits[0, 0] > 0).cpu().numpy()

    def _pixels(self, frame: Any, side: int) -> Any:
        import torch
        from PIL import Image

        small = Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR)
        pixels = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(side, side, 3).float() / 255
        return ((pixels - torch.tensor(_MEAN)) / torch.tensor(_DEVIATION)).permute(2, 0, 1)


def roomy(mask: Any, blocks: tuple[int, int] = (1, 1)) -> Any:
    """A mask made larger, then filled up in blocks: bool (H, W).

    blocks      the mask's bounding box is divided into (across, down) blocks, and every block that holds some of the
                person is taken whole. (1, 1), Wan's own choice, is the bounding box; more blocks follow the outline
    """
    import numpy as np
    from PIL import Image, ImageFilter

    grown = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * _ROOM + 1))
    larger = np.asarray(grown) > 0
    rows, columns = np.flatnonzero(larger.any(axis=1)), np.flatnonzero(larger.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    filled = larger.copy()
    across = np.linspace(left, right, min(blocks[0], right - left) + 1).astype(int)
    down = np.linspace(top, bottom, min(blocks[1], bottom - top) + 1).astype(int)
    for y0, y1 in pairwise(down):
        for x0, x1 in pairwise(across):
            if larger[y0:y1, x0:x1].any():
                filled[y0:y1, x0:x1] = True
    return filled
