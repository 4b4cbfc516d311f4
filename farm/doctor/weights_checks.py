"""Weights of this machine: what a worker here would offer."""

from collections.abc import Iterator

from farm.config import Settings
from farm.doctor.finding import Finding, error, ok, warning
from farm.doctor.gpu_checks import torch_file
from models import catalog
from models.catalog.model import Model
from models.weights import hub

_WHOLE = ("pulled at", "put here by hand")


def examine(settings: Settings) -> Iterator[Finding]:
    """Each model that is here or was begun, and each that the settings name; nothing where no engine is installed."""
    if torch_file() is None:
        return
    states = {model.id: _state(settings, model) for model in catalog.MODELS.values() if not model.external}
    here = [model_id for model_id, state in states.items() if state.startswith(_WHOLE)]
    for model_id, state in states.items():
        if state == "not fetched to its end":
            yield error(
                f"weights.{model_id}", state, f"wanfarm models pull {model_id} goes on where it was interrupted"
            )
        elif state.startswith(_WHOLE):
            yield ok(f"weights.{model_id}", state)
    wanted = dict.fromkeys([*settings.worker.models, *(line.split(" ")[0] for line in settings.speed.warm)])
    for model_id in wanted:
        if model_id not in states:
            yield error(f"weights.{model_id}", "the catalog has no such model", "correct worker.models and speed.warm")
        elif states[model_id] == "not here":
            yield error(f"weights.{model_id}", f"not in {settings.models_dir}", f"wanfarm models pull {model_id}")
    if not here:
        yield warning(
            "weights.none",
            f"no weights in {settings.models_dir}: a worker here offers the tiny models at most",
            "wanfarm models pull MODEL (wanfarm models lists them), or set worker.models_dir",
        )


def _state(settings: Settings, model: Model) -> str:
    """hub.state_of; a tiny model's weights are built when they are needed."""
    if model.weights.tiny:
        return "tiny"
    return hub.state_of(settings.models_dir / hub.folder_of(model))
