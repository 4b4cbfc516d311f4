"""recipe.json: everything that makes the frames, so that the same machine can make them again bit for bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.catalog.model import Model
from models.planning.request import Lora, RenderRequest
from models.provenance.recipe_file import FORMAT
from models.weights import folders, weights
from models.weights.digest import sha256_of

_SAME = (
    *("model", "task", "prompt", "negative_prompt", "width", "height", "frames", "fps"),
    *("steps", "guidance", "guidance_2", "shift", "seed", "options"),
)


class RecipeError(Exception):
    """A recipe that cannot be followed here, or whose frames came out differently; the text says which and why."""


def of_request(request: RenderRequest) -> dict[str, Any]:
    """The part of a recipe that was asked for. Inputs and LoRAs are named by content, never by path."""
    return {
        "recipe": FORMAT,
        **{name: getattr(request, name) for name in _SAME},
        "options": dict(request.options),
        "inputs": {
            role: request.input_sha256.get(role) or sha256_of(Path(path)) for role, path in request.inputs.items()
        },
        "loras": [_lora_told(lora) for lora in request.loras],
        "provenance": dict(request.provenance),
    }


def _lora_told(lora: Lora) -> dict[str, Any]:
    told = {"sha256": lora.sha256, "expert": lora.expert, "scale": lora.scale}
    return {"name": lora.title, **told} if lora.title else told


def of_weights(folder: Path) -> dict[str, Any]:
    """sha256 of the whole folder, the hub commit if it was pulled, and the hash of each tensor file."""
    return {
        "sha256": weights.digest(folder),
        "revision": weights.revision_of(folder),
        "files": {name: sha for name, sha in weights.hashes(folder).items() if name.endswith(".safetensors")},
    }


def of_loras(model: Model, models_dir: Path) -> dict[str, str]:
    """expert -> sha256 of the LoRAs that are fused into a model."""
    found = weights.hashes(folders.loras_of(model, models_dir)) if model.loras else {}
    return {lora.expert: found[f"{lora.expert}.safetensors"] for lora in model.loras}


def to_request(recipe: Mapping[str, Any], files: Mapping[str, Path], out_dir: Path) -> RenderRequest:
    """The request that a recipe stands for. `files` is sha256 -> local file. RecipeError when an input is missing."""

    def found(sha256: str, what: str) -> str:
        if sha256 not in files:
            raise RecipeError(f"{what} (sha256 {sha256[:16]}…) is not among the files given (--inputs FOLDER)")
        return str(files[sha256])

    def lora_of(lora: Mapping[str, Any]) -> Lora:
        title = lora.get("name", "")
        path = found(lora["sha256"], f"the LoRA {title}".rstrip())
        return Lora(path, lora["sha256"], lora["expert"], lora["scale"], title)

    if recipe.get("recipe") != FORMAT:
        raise RecipeError(f"recipe format {recipe.get('recipe')!r} is not {FORMAT}")
    inputs = dict(recipe["inputs"])
    return RenderRequest(
        **{name: recipe[name] for name in _SAME},
        out_dir=str(out_dir),
        inputs={role: found(sha, role) for role, sha in inputs.items()},
        input_sha256=inputs,
        loras=tuple(lora_of(one) for one in recipe["loras"]),
        provenance=dict(recipe["provenance"]),
    )
