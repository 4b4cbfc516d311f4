"""Looking at the steps: contact sheets of what Animate would be shown. Nothing is rendered."""

from pathlib import Path
from typing import Any

from models import catalog
from models.catalog.model import Model
from models.media import clips
from models.planning.request import RenderRequest
from models.preprocess import skeleton
from models.preprocess.guides import Eyes, guides_of
from models.preprocess.keypoints import body
from models.progress.render_monitor import RenderMonitor

#: frames on a sheet, evenly over the clip, and the longer side of each in pixels
COLUMNS, _SIDE = 8, 240
#: pixels above the pictures, where the frames' numbers are
HEADER = 20


def show(
    eyes: Eyes,
    model: Model,
    clip: Path,
    out_dir: Path,
    *,
    task: str = "animate",
    picture: Path | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, Path]:
    """Preprocess a clip at the model's usual area and write one sheet for each step into out_dir: step -> PNG.

    picture     only needed to retarget
    Raises RenderFault as a render would.
    """
    facts = clips.probe(clip)
    area = model.defaults.width * model.defaults.height
    width, height = catalog.size_of_area(model, area, facts.width / facts.height)
    out_dir.mkdir(parents=True, exist_ok=True)
    d = model.defaults
    request = RenderRequest(
        model=model.id,
        task=task,
        prompt="",
        negative_prompt="",
        width=width,
        height=height,
        frames=d.frames,
        fps=d.fps,
        steps=d.steps,
        guidance=d.guidance,
        guidance_2=None,
        shift=d.shift,
        seed=0,
        out_dir=str(out_dir),
        inputs={"video": str(clip)} | ({"image": str(picture)} if picture else {}),
        options=options or {},
    )
    marked: list[Any] = []
    monitor = RenderMonitor(lambda _: None, lambda: False)
    guides = guides_of(
        eyes,
        request,
        facts,
        model.limits.max_frames,
        monitor,
        note=lambda frame, pose: marked.append(small(_marked(frame, pose))),
    )
    numbers = columns(len(guides.poses))
    rows = {"pose": [marked[number] for number in numbers]}
    films = {
        "skeleton": guides.poses,
        "face": guides.faces,
        "background": guides.backgrounds,
        "mask": guides.masks,
    }
    rows |= {name: [small(film[number]) for number in numbers] for name, film in films.items() if film is not None}
    return {name: _write(out_dir / f"{name}.png", [row], numbers) for name, row in rows.items()} | {
        "all": _write(out_dir / "all.png", list(rows.values()), numbers)
    }


def columns(frames: int) -> list[int]:
    """The frames that a sheet shows: the first, the last, and evenly in between."""
    count = min(frames, COLUMNS)
    return [round(n * (frames - 1) / max(1, count - 1)) for n in range(count)]


def small(frame: Any) -> Any:
    """A frame as a picture for a sheet."""
    from PIL import Image

    picture = Image.fromarray(frame).convert("RGB")
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return picture


def _marked(frame: Any, pose: Any) -> Any:
    """The frame with the body's points on it: green where the model is sure, red where it is not."""
    import numpy as np
    from PIL import Image, ImageDraw

    picture = Image.fromarray(frame)
    pen = ImageDraw.Draw(picture)
    radius = max(2, min(picture.size) // 90)
    for x, y, sure in body(pose):
        colour = (0, 220, 0) if sure >= skeleton.SURE else (230, 0, 0)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=(255, 255, 255))
    return np.asarray(picture)


def _write(path: Path, rows: list[list[Any]], numbers: list[int]) -> Path:
    """The rows below each other, and above each column the number of its frame, from 0 as faults name it."""
    from PIL import Image, ImageDraw

    wide = max(picture.width for row in rows for picture in row)
    high = [max(picture.height for picture in row) for row in rows]
    size = (4 + (wide + 4) * len(rows[0]), HEADER + sum(h + 4 for h in high))
    sheet = Image.new("RGB", size, (90, 90, 90))
    pen = ImageDraw.Draw(sheet)
    for column, frame in enumerate(numbers):
        pen.text((4 + column * (wide + 4), 2), str(frame), fill=(255, 255, 255), font_size=14)
    top = HEADER
    for row, height in zip(rows, high, strict=True):
        for number, picture in enumerate(row):
            sheet.paste(picture, (4 + number * (wide + 4), top))
        top += height + 4
    sheet.save(path)
    return path
