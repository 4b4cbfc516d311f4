"""Where a model's weights lie below the folder of models, and which models have theirs there."""

from pathlib import Path

from models import catalog
from models.catalog import Model
from models.planning.request import WEIGHTS_MISSING, RenderFault
from models.weights import tiny
from models.weights.weights import PULLING


def folder_of(model: Model, models_dir: Path) -> Path:
    """Where the transformer's weights are; tiny ones are built when missing. RenderFault WEIGHTS_MISSING when they are
    not here."""
    if model.weights.tiny:
        return tiny.ensure(models_dir, model.weights_id)
    if not _here(model, models_dir):
        missing = f"the weights of {model.id} are not on this machine: wanfarm models pull {model.id}"
        raise RenderFault(WEIGHTS_MISSING, missing)
    return models_dir / model.weights_id


def loras_of(model: Model, models_dir: Path) -> Path:
    """Where the model's own LoRAs are; folder_of has made sure of them unless they are tiny."""
    return tiny.ensure(models_dir, model.id) if model.weights.tiny else models_dir / model.id


def offered(models_dir: Path) -> list[str]:
    """Catalog ids that can be rendered from this folder: those whose weights lie there, and the tiny ones."""
    models = (model for model in catalog.MODELS.values() if not model.external)
    return [model.id for model in models if model.weights.tiny or _here(model, models_dir)]


def _here(model: Model, models_dir: Path) -> bool:
    files = [models_dir / model.weights_id / "model_index.json"]
    files += [models_dir / model.id / f"{lora.expert}.safetensors" for lora in model.loras]
    return all(file.is_file() and not (file.parent / PULLING).is_file() for file in files)
