"""The farm's own JSON about LoRAs: adding one, and what its owner sees of it. How a job asks for one: own.py. Pure."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from farm.loras.lora import NAME, SHA256, StoredLora
from farm.storage.object_keys import UPLOAD_ID
from farm.wire.own import Strict
from farm.wire.own_views import View, moment
from models.catalog import MODELS


class AddLora(Strict):
    """An upload that becomes a LoRA of yours."""

    name: str = Field(pattern=f"^{NAME}$", description="what jobs call it; no other of yours is called so")
    upload: str = Field(
        max_length=128,
        json_schema_extra={"pattern": f"^{UPLOAD_ID}$"},
        description='id of an upload: `POST /v1/uploads` with `{"for": "lora"}`',
    )
    sha256: str | None = Field(
        None, pattern=f"^{SHA256}$", description="of the file, to be sure that it arrived as it was sent"
    )


class LoraView(View):
    """A LoRA as its owner sees it.

    sha256     its identity: what lanes and recipes call it
    modules    how many layers it changes
    ignored    tensors of the file that no engine applies: differences of norms and of whole weights
    fits       model -> the experts that it can be applied to
    """

    id: str
    object: Literal["lora"] = "lora"
    name: str
    sha256: str
    size: int
    rank: int
    modules: int
    ignored: int
    fits: dict[str, list[str]]
    created_at: datetime


class LoraList(View):
    """By name."""

    object: Literal["list"] = "list"
    data: list[LoraView]


def view_lora(lora: StoredLora) -> LoraView:
    """What the owner of a LoRA sees of it."""
    return LoraView(
        id=lora.id,
        name=lora.name,
        sha256=lora.sha256,
        size=lora.size,
        rank=lora.rank,
        modules=lora.modules,
        ignored=lora.ignored,
        # leave out models that were removed from the catalog since
        fits={model: _experts(model) for model in lora.fits if model in MODELS},
        created_at=moment(lora.created_ms),
    )


def _experts(model: str) -> list[str]:
    return ["both", "high", "low"] if MODELS[model].experts == 2 else ["both"]
