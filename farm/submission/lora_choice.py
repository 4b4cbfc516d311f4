"""Resolves a draft's LoRA names to stored records and derives the lane's name. Pure; the caller passes the function
that finds a tenant's LoRAs."""

from collections.abc import Mapping
from typing import Any

from farm.jobs.draft import Draft
from farm.jobs.errors import InvalidRequest
from farm.jobs.lanes import lora_word
from farm.loras.lora import LoraLookup
from farm.storage.object_keys import lora_key
from models.catalog import Model
from models.weights import lora_file
from models.weights.lora_file import EXPERTS, LoraError

JobLoras = tuple[Mapping[str, Any], ...]
_KEYS = frozenset({"lora", "scale", "expert"})


def chosen_loras(draft: Draft, model: Model, tenant: str, most: int, find: LoraLookup) -> JobLoras:
    """The LoRAs of a draft as its spec keeps them, in the order of the lane's name. `find` finds one of the tenant's
    own by name or id.

    Raises InvalidRequest on `loras.<n>.<field>`: one that the tenant does not have, that does not fit the model, or
    that is named twice for one expert.
    """
    if not draft.loras:
        return ()
    if (reason := lora_file.why_not(model)) is not None:
        raise draft.refused("loras", reason)
    if len(draft.loras) > most:
        raise draft.refused("loras", f"a job has at most {most}")
    chosen: list[Mapping[str, Any]] = []
    taken: set[tuple[str, str]] = set()
    for number, asked in enumerate(draft.loras):
        try:
            one = _one(asked, model, tenant, find)
        except InvalidRequest as error:
            name = draft.called("loras")
            error.field = f"{name}.{number}.{error.field}" if error.field else f"{name}.{number}"
            raise
        experts = {(one["id"], expert) for expert in ("high", "low") if one["expert"] in ("both", expert)}
        if taken & experts:
            raise draft.refused("loras", f"{one['name']} is named twice for the same expert")
        taken |= experts
        chosen.append(one)
    return tuple(sorted(chosen, key=lora_word))


def _one(asked: Mapping[str, Any], model: Model, tenant: str, find: LoraLookup) -> Mapping[str, Any]:
    if unknown := sorted(set(asked) - _KEYS):
        raise InvalidRequest(f"unknown; known are {', '.join(sorted(_KEYS))}", str(unknown[0]))
    called, expert = asked.get("lora"), asked.get("expert") or "both"
    if not isinstance(called, str) or not called:
        raise InvalidRequest("the name or id of one of your LoRAs", "lora")
    lora = find(called)
    if lora is None:
        raise InvalidRequest(f"you have no LoRA {called[:64]!r}; upload it and add it at /v1/loras", "lora")
    if model.id not in lora.fits:
        fits = ", ".join(lora.fits)
        raise InvalidRequest(f"{lora.name} was not made for {model.id}; it fits {fits}", "lora")
    if expert not in EXPERTS:
        raise InvalidRequest(f"one of {', '.join(EXPERTS)}", "expert")
    if model.experts == 1:
        if expert == "low":
            raise InvalidRequest(f"{model.id} has one expert; leave it out", "expert")
        # one way to say it is one lane
        expert = "both"
    scale = asked.get("scale")
    try:
        scale = lora_file.checked_scale(1.0 if scale is None else scale)
    except LoraError as error:
        raise InvalidRequest(str(error), "scale") from None
    return {
        "id": lora.id,
        "name": lora.name,
        "sha256": lora.sha256,
        "size": lora.size,
        "key": lora_key(tenant, lora.id),
        "expert": expert,
        "scale": scale,
    }
