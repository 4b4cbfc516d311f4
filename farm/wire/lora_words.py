"""LoRAs in the providers' dialects: no provider documents a field for them, so a request that has one is refused
rather than rendered without it. OpenAI's form takes the farm's own field. Pure."""

from collections.abc import Mapping
from typing import Any

from farm.jobs.draft import Draft
from farm.jobs.errors import InvalidRequest
from farm.wire.words import Fields, as_number, as_text, is_unset, parse_nested

#: words that clients of other services know
_KNOWN = (
    *("lora", "loras", "lora_id", "lora_ids", "lora_name", "lora_path", "lora_url", "lora_urls", "lora_weights"),
    *("loraUrl", "loraUrls", "loraWeights", "selectedLora", "adapters"),
)


def refuse(*given: Fields) -> None:
    """Raises InvalidRequest for a body that asks for a LoRA."""
    for fields in given:
        for name in _KNOWN:
            value = parse_nested(fields.raw.get(name))
            if not is_unset(value) and value not in ([], {}):
                raise InvalidRequest(
                    "this dialect has no word for LoRAs; submit jobs that use them to /v1/jobs", fields.prefix + name
                )


def refuse_draft(draft: Draft) -> None:
    """The same on the way out."""
    if draft.loras:
        raise InvalidRequest("a provider of this dialect takes no LoRAs", "loras")


def parse(given: Fields, name: str = "loras") -> tuple[Mapping[str, Any], ...]:
    """A list of names, or of objects with lora, scale and expert."""
    value = parse_nested(given.find(name)[0])
    if is_unset(value):
        return ()
    listed = value if isinstance(value, list) else [value]
    return tuple(_one(item, f"{given.prefix}{name}.{number}") for number, item in enumerate(listed))


def _one(item: Any, where: str) -> Mapping[str, Any]:
    asked = Fields(item if isinstance(item, Mapping) else {"lora": item}, f"{where}.")
    if unknown := sorted(set(map(str, asked.raw)) - {"lora", "scale", "expert"}):
        raise InvalidRequest("unknown; known are lora, scale, expert", f"{where}.{unknown[0][:40]}")
    scale = as_number(asked.raw.get("scale"), f"{where}.scale")
    return {
        "lora": as_text(asked.raw.get("lora"), f"{where}.lora"),
        "scale": 1.0 if scale is None else scale,
        "expert": as_text(asked.raw.get("expert"), f"{where}.expert") or "both",
    }
