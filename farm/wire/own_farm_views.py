"""Views of the farm's own API on what there is to render with: models, workers, the state of the farm."""

from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field

from farm.jobs.worker_status import LiveWorker, WorkerState
from farm.wire.own_views import View
from models.catalog import Model

#: 2025-07-28, when Wan 2.2 was released
_RELEASED_S = 1_753_660_800


class ModelLimits(View):
    """width and height are even: a clip whose sides are no multiples of `multiple` is cut out of the next larger one
    that is rendered. frames is 4n+1."""

    multiple: int
    min_side: int
    max_side: int
    max_pixels: int
    max_frames: int
    max_steps: int
    min_fps: int
    max_fps: int


class ModelDefaultsView(View):
    """What a job of the model gets where it asks for nothing else."""

    width: int
    height: int
    frames: int
    fps: int
    steps: int
    guidance: float
    guidance_2: float | None
    shift: float


class ModelView(View):
    """tasks: task -> inputs that it needs. `available`: a worker that is alive offers it. `follows`: the input whose
    length and rate the result has, if one does; the defaults' are then not used. `alias_of`: what the farm renders for
    a name of OpenAI's. `created` (seconds since 1970) and `owned_by` are what OpenAI's clients look for."""

    id: str
    object: Literal["model"] = "model"
    created: int = _RELEASED_S
    owned_by: str = "wanfarm"
    alias_of: str | None = None
    title: str
    tasks: dict[str, list[str]]
    resolutions: dict[str, int]
    defaults: ModelDefaultsView
    limits: ModelLimits
    follows: str | None = None
    tiny: bool
    external: bool
    available: bool


class ModelList(View):
    """The models of the catalog."""

    object: Literal["list"] = "list"
    data: list[ModelView]


def view_model(model: Model, *, available: bool, alias: str | None = None) -> ModelView:
    """A catalog entry as the API shows it; `available`: a worker renders it now; `alias`: the name under which it is
    listed, when that is not its own."""
    return ModelView(
        id=alias or model.id,
        owned_by=(model.weights.repo or "wanfarm").partition("/")[0],
        alias_of=None if alias is None else model.id,
        title=model.title,
        tasks={task: list(needs) for task, needs in model.tasks.items()},
        resolutions=model.resolutions,
        defaults=ModelDefaultsView(**asdict(model.defaults)),
        limits=ModelLimits(**asdict(model.limits)),
        follows=model.follows,
        tiny=model.weights.tiny,
        external=model.external,
        available=available,
    )


class WorkerView(View):
    """What a live worker last said of itself.

    state     starting, idle, busy, draining, broken, quarantined or out_of_service; `reason` says why, `until` for how
              long
    locked    an operator lets it take no more jobs
    leaves    an idle worker for which nothing that waits is
    memory    bytes that its engine may use, of the device and of the machine
    metrics   address of its page for Prometheus
    """

    worker: str
    pool: str
    device: str
    state: WorkerState
    models: list[str]
    slot: str | None = None
    lane: str | None = None
    memory: dict[str, Any] | None = None
    job: str | None = None
    phase: str | None = None
    locked: bool = False
    leaves: bool = False
    reason: str | None = None
    until: str | None = None
    metrics: str | None = None
    pid: int | None = None
    host: str | None = None
    torch_loaded: bool = False
    live_until_ms: int


class WorkerList(View):
    """For operators: live workers by pool and name. `next_cursor` continues after the last one, null at the end."""

    object: Literal["list"] = "list"
    data: list[WorkerView]
    next_cursor: str | None = None


def view_worker(one: LiveWorker, *, locked: bool = False) -> WorkerView:
    """A live worker as operators see it."""
    told = one.status.to_json()
    return WorkerView(worker=one.worker, pool=one.pool, live_until_ms=one.live_until_ms, locked=locked, **told)


class Health(View):
    """`parts`: part -> "ok" or what is wrong. status: "ok" when all are; "accepting" when jobs are taken and wait,
    since no worker renders or nobody reaps; "unready" when none can be taken."""

    status: Literal["ok", "accepting", "unready"]
    parts: dict[str, str] = Field(default_factory=dict)
