"""A clip becomes Animate's guides: every frame is looked at once, and whatever cannot be followed is named."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.catalog.model import Model
from models.media import clips, pictures
from models.media.clips import ClipFacts
from models.media.film import Film
from models.planning.request import RenderFault, RenderRequest
from models.preprocess import faces, keypoints, skeleton
from models.preprocess.cuts import Cuts
from models.preprocess.masks import Masker, roomy
from models.preprocess.persons import SURE, Detector, Track, named
from models.preprocess.poses import PoseNet
from models.preprocess.retarget import Proportions
from models.progress.render_monitor import RenderMonitor
from models.weights import weights

#: folders of models_dir/preprocess, and what is in each
PARTS = ("person", "pose", "mask")


@dataclass(frozen=True)
class Guides:
    """Animate's inputs, one frame for each frame of the clip: skeletons (H, W, 3), faces (square, 3); for "replace"
    also the background with the person blacked out and the mask (H, W), white where the character goes."""

    poses: Film
    faces: Film
    backgrounds: Film | None = None
    masks: Film | None = None


@dataclass
class Eyes:
    """The three networks that look at a clip. sure: see Track."""

    detector: Detector
    poses: PoseNet
    masker: Masker | None
    sure: float = SURE


def folder_of(models_dir: Path, model: Model) -> Path | None:
    """Where the networks for a model's clips are; tiny ones are built when missing, None when they are not here."""
    if model.weights.tiny:
        from models.preprocess import tiny_eyes

        return tiny_eyes.ensure(models_dir)
    folder = models_dir / "preprocess"
    return folder if all(weights.ready(folder / part) for part in PARTS[:2]) else None


def open_eyes(folder: Path, device: Any, task: str, sure: float = SURE) -> Eyes:
    """Load what the task needs. RenderFault engine_error when the masks of "replace" have no weights."""
    masker = None
    if task == "replace":
        if not weights.ready(folder / "mask"):
            raise RenderFault("engine_error", "replace needs SAM 2: wanfarm models pull preprocess/mask")
        masker = Masker(folder / "mask", device)
    return Eyes(Detector(folder / "person", device), PoseNet(folder / "pose", device), masker, sure)


def guides_of(
    eyes: Eyes,
    request: RenderRequest,
    facts: ClipFacts,
    most: int,
    monitor: RenderMonitor,
    *,
    note: Callable[[Any, Any], None] = lambda _frame, _pose: None,
) -> Guides:
    """Guides at the request's size, one for each of the clip's frames, which are at most `most`.

    note        is shown every frame and its pose at the request's size (to look at the steps)
    RenderFault invalid_input, naming the frame: nobody there, several people, another shot, a clip of one frame.
    """
    width, height, folder = request.width, request.height, Path(request.out_dir)
    track = Track(float(facts.fps), eyes.sure, str(request.options.get("several", "refuse")))
    cuts = Cuts()
    shown, drawn, cropped = Film(folder), Film(folder), Film(folder)
    ours = _picture_pose(eyes, request) if request.options.get("retarget") else None
    fit: Proportions | None = None
    poses = []
    for number, frame in enumerate(clips.read(request.inputs["video"], facts.fps, most)):
        monitor.check()
        if cuts.begins(frame):
            raise RenderFault(
                "invalid_input", f"another shot begins at {named(number, float(facts.fps))}: send one shot at a time"
            )
        pose = eyes.poses.pose(frame, track.follow(number, eyes.detector.people(frame)))
        cropped.append(faces.crop(frame, pose))
        there = _covering(pose, frame, width, height)
        small = _covered(frame, width, height)
        if ours is not None:
            fit = fit or Proportions(there, ours)
        drawn.append(skeleton.draw(there if fit is None else fit.fit(there), width, height))
        note(small, there)
        if eyes.masker is not None:
            poses.append(there)
            shown.append(small)
        monitor.within(number / (facts.about * (2 if eyes.masker else 1)))
    if len(drawn) < 2:
        raise RenderFault("invalid_input", "the clip ends at frame 0: one frame has no motion to follow")
    if eyes.masker is None:
        return Guides(drawn, cropped)
    backgrounds, masks = _cut_out(eyes.masker, request, shown, poses, monitor=monitor, fps=float(facts.fps))
    return Guides(drawn, cropped, backgrounds, masks)


def _picture_pose(eyes: Eyes, request: RenderRequest) -> Any:
    """The pose of the character on the canvas. RenderFault invalid_input when nobody is seen in the picture."""
    import numpy as np

    picture = np.asarray(pictures.read(request.inputs["image"]))
    people = [box for box in eyes.detector.people(picture) if box.score >= eyes.sure]
    if not people:
        raise RenderFault("invalid_input", "no person is seen in the picture, so there is no body to retarget to")
    pose = eyes.poses.pose(picture, people[0])
    return _covering(pose, picture, request.width, request.height)


def _cut_out(
    masker: Masker, request: RenderRequest, shown: Film, poses: list[Any], *, fps: float, monitor: RenderMonitor
) -> tuple[Film, Film]:
    """(backgrounds with the person blacked out, masks white where to draw)."""
    import numpy as np

    folder = Path(request.out_dir)
    backgrounds, masks = Film(folder), Film(folder)
    across, down = request.options.get("mask_blocks", (1, 1))

    def each(number: int) -> None:
        monitor.check()
        monitor.within(0.5 + number / (2 * len(shown)))

    for number, mask in enumerate(masker.masks(shown, poses, fps, each)):
        room = roomy(mask, (int(across), int(down)))
        masks.append((room * 255).astype(np.uint8))
        backgrounds.append(shown[number] * ~room[:, :, None])
    return backgrounds, masks


def _covered(frame: Any, width: int, height: int) -> Any:
    import numpy as np
    from PIL import Image

    return np.asarray(pictures.cover(Image.fromarray(frame), width, height))


def _covering(pose: Any, frame: Any, width: int, height: int) -> Any:
    """The pose where pictures.cover puts it."""
    high, wide = frame.shape[:2]
    scale = max(width / wide, height / high)
    return keypoints.moved(pose, scale, (wide * scale - width) / 2, (high * scale - height) / 2)
