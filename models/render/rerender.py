"""Render a recipe again and compare the frames."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models import catalog
from models.planning.request import Progress, RenderResult
from models.provenance import recipe as recipe_file
from models.provenance.recipe import RecipeError
from models.render.renderer import Renderer
from models.weights import folders, weights
from models.weights.digest import sha256_of


def rerender(
    recipe: Mapping[str, Any],
    inputs: Path | None,
    models_dir: Path,
    out_dir: Path,
    *,
    device: str = "auto",
    on_progress: Callable[[Progress], None] = lambda _: None,
    renderer: Renderer | None = None,
) -> RenderResult:
    """Render a recipe again into out_dir and compare the frames' hash with the recipe's.

    inputs      folder that holds the input files (and LoRAs), under any name: they are found by content
    renderer    a warm one to use instead of a new one
    Raises RecipeError when an input or the weights are not the recipe's, or when the frames differ.
    """
    paths = sorted(p for p in inputs.rglob("*") if p.is_file()) if inputs is not None else []
    request = recipe_file.to_request(recipe, {sha256_of(path): path for path in paths}, out_dir)
    folder = folders.folder_of(catalog.get(request.model), models_dir)
    if weights.digest(folder) != recipe["weights"]["sha256"]:
        raise RecipeError(f"the weights of {request.model} here are not those of the recipe")
    if recipe_file.of_loras(catalog.get(request.model), models_dir) != recipe.get("fused", {}):
        raise RecipeError(f"the LoRAs of {request.model} here are not those of the recipe")
    out_dir.mkdir(parents=True, exist_ok=True)
    renderer = renderer or Renderer(models_dir, device)
    result = renderer.render(request, on_progress, lambda: False)
    if result.recipe["frames_sha256"] != recipe["frames_sha256"]:
        raise RecipeError("the frames are not the same: " + (_differences(recipe, result.recipe) or "nothing else is"))
    return result


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What else differs between two recipes, as the likely reason: device, versions, precision."""
    telling = ("device", "libraries", "precision", "attention", "speed", "plan", "caches", "scheduler")
    return ", ".join(f"{k} was {then.get(k)}, is {now.get(k)}" for k in telling if then.get(k) != now.get(k))
