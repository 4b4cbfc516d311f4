"""The pose of a person in a frame: 133 points from a ViTPose, either transformers' or Wan's own ONNX file.

The published transformers weights know 17 points; Wan-Animate needs all 133, so any other head is refused.
"""

from pathlib import Path
from typing import Any

from models.planning.request import RenderFault
from models.preprocess.keypoints import COUNT
from models.preprocess.persons import Box

#: the network's input (height, width), and ImageNet's mean and deviation
_INPUT = (256, 192)
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: the box is made larger before it is cut out, as in training
_MARGIN = 1.25
#: which of ViTPose+'s heads: COCO-WholeBody
_WHOLE_BODY = 5


class PoseNet:
    """ViTPose from a folder: the ONNX file that is somewhere in it, or transformers' layout.

    Wan's own is a folder called vitpose_h_wholebody.onnx, with end2end.onnx in it and a file for each of its tensors.
    """

    def __init__(self, folder: Path, device: Any) -> None:
        onnx = next((path for path in sorted(folder.rglob("*.onnx")) if path.is_file()), None)
        self._run = _onnx(onnx, device) if onnx is not None else _vitpose(folder, device)

    def pose(self, frame: Any, person: Box) -> Any:
        """(133, 3) in pixels of the frame (H, W, 3): x, y, sureness."""
        import numpy as np

        left, top, wide, high = _framed(person)
        heat = self._run(_cut(frame, left, top, wide, high))
        points = peaks(heat)
        points[:, 0] = left + points[:, 0] * wide / heat.shape[2]
        points[:, 1] = top + points[:, 1] * high / heat.shape[1]
        return points.astype(np.float32)


def peaks(heat: Any) -> Any:
    """The points (133, 3) of heatmaps (133, h, w), in heatmap pixels: the highest value of each map, moved a quarter
    towards the higher neighbour."""
    import numpy as np

    count, height, width = heat.shape
    flat = heat.reshape(count, -1)
    best = flat.argmax(axis=1)
    points = np.stack([best % width, best // width, flat.max(axis=1)], axis=1).astype(np.float64)
    for number, (x, y) in enumerate(zip(best % width, best // width, strict=True)):
        if 0 < x < width - 1 and 0 < y < height - 1:
            here = heat[number]
            points[number, 0] += 0.25 * np.sign(here[y, x + 1] - here[y, x - 1])
            points[number, 1] += 0.25 * np.sign(here[y + 1, x] - here[y - 1, x])
    points[:, 2] = points[:, 2].clip(0, 1)
    return points


def _framed(person: Box) -> tuple[float, float, float, float]:
    """(left, top, width, height) of what is cut out: the box with a margin, in the network's proportions."""
    proportion = _INPUT[1] / _INPUT[0]
    wide, high = max(person.right - person.left, 1.0), max(person.bottom - person.top, 1.0)
    wide, high = max(wide, high * proportion) * _MARGIN, max(high, wide / proportion) * _MARGIN
    return (person.left + person.right - wide) / 2, (person.top + person.bottom - high) / 2, wide, high


def _cut(frame: Any, left: float, top: float, wide: float, high: float) -> Any:
    """The network's input (1, 3, 256, 192) float32; what lies outside the frame is black."""
    import numpy as np
    from PIL import Image

    height, width = _INPUT
    window = (wide / width, 0, left, 0, high / height, top)
    small = Image.fromarray(frame).transform((width, height), Image.Transform.AFFINE, window, Image.Resampling.BILINEAR)
    pixels = (np.asarray(small, dtype=np.float32) / 255 - _MEAN) / _DEVIATION
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)


def _vitpose(folder: Path, device: Any) -> Any:
    import torch
    from transformers import VitPoseForPoseEstimation

    model = VitPoseForPoseEstimation.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    if model.config.num_labels != COUNT:
        raise RenderFault(
            "engine_error",
            f"the pose weights know {model.config.num_labels} points, Animate needs {COUNT}: "
            "wanfarm models pull preprocess/pose",
        )
    model.to(device).eval()
    experts = getattr(model.config.backbone_config, "num_experts", 1) > 1

    def run(pixels: Any) -> Any:
        index = torch.tensor([_WHOLE_BODY], device=device) if experts else None
        with torch.no_grad():
            return model(torch.from_numpy(pixels).to(device), dataset_index=index).heatmaps[0].float().cpu().numpy()

    return run


def _onnx(path: Path, device: Any) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RenderFault("engine_error", f"{path.name} needs onnxruntime: pip install 'wanfarm[animate]'") from error
    providers = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    offered = [name for name in providers if name in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(str(path), providers=[*offered, "CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own types differ from build to build
        raise RenderFault("engine_error", f"{path.name} cannot be opened: is every file of it here?") from error
    name = session.get_inputs()[0].name

    def run(pixels: Any) -> Any:
        heat = session.run(None, {name: pixels})[0][0]
        if heat.shape[0] != COUNT:
            raise RenderFault("engine_error", f"{path.name} gives {heat.shape[0]} points, Animate needs {COUNT}")
        return heat

    return run
