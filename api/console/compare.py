"""Two takes side by side."""

from dataclasses import dataclass

from flask import Response, make_response, render_template, request

from api.console import words
from api.console.blueprint import console
from api.own.jobs import job_of, show
from farm.jobs.errors import InvalidRequest
from farm.wire.own_views import JobView


@dataclass(frozen=True)
class ComparedField:
    """What a field is in each of two jobs."""

    name: str
    left: str
    right: str

    @property
    def differs(self) -> bool:
        """Whether they are not the same."""
        return self.left != self.right


@console.get("/compare")
def compare() -> Response:
    """The jobs `left` and `right`, with what is different between them. Raises NotFound."""
    ids = request.args.getlist("id")
    if len(ids) != 2:
        raise InvalidRequest("choose two jobs", "id")
    left, right = (show(job_of(one)) for one in ids)
    fields = compared(left, right)
    return make_response(render_template("console/compare.html", left=left, right=right, fields=fields))


def compared(left: JobView, right: JobView) -> list[ComparedField]:
    """What was asked for in each, the differences first."""
    fields = [ComparedField(name, one, told(right)[name]) for name, one in told(left).items()]
    return sorted(fields, key=lambda field: not field.differs)


def told(view: JobView) -> dict[str, str]:
    """What was asked for, by the names that people read."""
    size = f"{view.width} × {view.height}" if view.width else "as its input"
    guidance = f"{view.guidance:g}" + (f" / {view.guidance_2:g}" if view.guidance_2 is not None else "")
    return {
        "Prompt": view.prompt,
        "Negative prompt": view.negative_prompt or "–",
        "Model": view.model,
        "Task": view.task,
        "Seed": str(view.seed),
        "Size": size,
        "Length": f"{view.duration_s:.3g} s at {view.fps:.4g} fps" if view.duration_s and view.fps else "as its input",
        "Steps": str(view.steps),
        "Guidance": guidance,
        "Shift": f"{view.shift:g}",
        "LoRAs": ", ".join(f"{lora.name} × {lora.scale:g}" for lora in view.loras) or "–",
        "Options": ", ".join(f"{name} {value}" for name, value in view.options.items()) or "–",
        "Rendered in": words.span(
            (view.finished_at - view.started_at).total_seconds() if view.finished_at and view.started_at else None
        ),
    }
