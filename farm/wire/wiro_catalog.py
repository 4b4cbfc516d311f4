"""wiro's lists that are not tasks: tools (models) and uploaded files. Pure."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farm.jobs.money import MICRO
from farm.wire.http import Unreadable
from farm.wire.wiro import parse_error
from models.catalog import AREAS

#: task -> wiro's category
_CATEGORIES = {"t2v": "text-to-video", "i2v": "image-to-video", "flf2v": "image-to-video", "animate": "video-to-video"}


@dataclass(frozen=True)
class Tool:
    """A model as wiro lists it: "owner/project", a title, what it does, and micro-credits per second of video by
    resolution word."""

    slug: str
    title: str
    task: str | None
    rates: Mapping[str, int]
    credit_usd: float

    @property
    def categories(self) -> list[str]:
        """All of them, as clients filter by them."""
        return ["tool", "video", _CATEGORIES.get(self.task or "", "video-generation")]

    @property
    def tags(self) -> list[str]:
        """The owner, and what everybody calls the family."""
        return [self.slug.partition("/")[0].lower(), "wan"]

    def is_wanted(self, search: str, categories: Collection[str], tags: Collection[str], owner: str | None) -> bool:
        """Whether it has the word and one of the categories and of the tags, as far as any are asked for."""
        known = {word.lower() for word in self.categories}
        return (
            (search in self.slug.lower() or search in self.title.lower())
            and (not categories or bool(known & {word.lower() for word in categories}))
            and (not tags or bool(set(self.tags) & {word.lower() for word in tags}))
            and (owner is None or owner.lower() in (self.slug.partition("/")[0].lower(), self._owner))
        )

    @property
    def _owner(self) -> str:
        return _clean(self.slug.partition("/")[0])


def render_tools(tools: Sequence[Tool], *, total: int | None = None) -> dict[str, Any]:
    """The answer to Tool/List; `total` counts also those that are not on this page."""
    count = len(tools) if total is None else total
    return {"result": True, "errors": [], "total": str(count), "tool": [_tool(tool) for tool in tools]}


def render_tool(tool: Tool) -> dict[str, Any]:
    """The answer to Tool/Detail: with what generic clients draw their forms from."""
    detail = _tool(tool) | {"readme": tool.title, "parameters": _parameters(tool), "inspire": [], "samples": []}
    return {"result": True, "errors": [], "total": "1", "tool": [detail]}


def render_explore(tools: Sequence[Tool]) -> dict[str, Any]:
    """The answer to Tool/Explore: the tools by category."""
    groups: dict[str, list[Tool]] = {}
    for tool in tools:
        groups.setdefault(tool.categories[-1], []).append(tool)
    explore = [
        {
            "id": name,
            "title": name.replace("-", " ").title(),
            "total": len(members),
            "tools": [{**_tool(tool), "image": "", "averagepoint": "0", "commentcount": "0"} for tool in members],
        }
        for name, members in groups.items()
    ]
    return {"result": True, "errors": [], "explore": explore}


def _tool(tool: Tool) -> dict[str, Any]:
    owner, _, project = tool.slug.partition("/")
    prices = [
        {
            "inputs": {"resolution": word.upper()},
            "price": round(rate / MICRO * tool.credit_usd, 6),
            "priceMethod": "cp-outputVideoLength",
        }
        for word, rate in tool.rates.items()
    ]
    return {
        "id": tool.slug,
        "title": tool.title,
        "slugowner": owner,
        "slugproject": project,
        "cleanslugowner": _clean(owner),
        "cleanslugproject": _clean(project),
        "description": tool.title,
        "seodescription": tool.title,
        "image": "",
        "categories": tool.categories,
        "tags": tool.tags,
        # a JSON string, unlike everything around it
        "dynamicprice": json.dumps(prices),
    }


def _parameters(tool: Tool) -> list[dict[str, Any]]:
    """Groups of inputs: what Run reads (farm.wire.wiro), with wiro's types for each."""
    required: list[dict[str, Any]] = [_item("prompt", "textarea", "Prompt", required=True)]
    if tool.task != "t2v":
        required.insert(0, _item("inputImage", "fileinput", "Image", required=True, note="a file, or inputImageUrl"))
    resolutions = [{"label": word, "value": word.upper()} for word in AREAS]
    more = [
        _item("negativePrompt", "textarea", "Negative prompt"),
        _item("resolution", "select", "Resolution", options=resolutions),
        _item("numFrames", "number", "Frames", note="4n+1"),
        _item("fps", "number", "Frames per second"),
        _item("steps", "range", "Steps", min=1, max=100, step=1),
        _item("scale", "range", "Guidance", min=0, max=20, step=0.1),
        _item("shift", "range", "Flow shift", min=0.1, max=30, step=0.1),
        _item("seed", "number", "Seed", note="empty or -1: a random one"),
    ]
    return [
        {"title": "Input", "subtitle": "", "items": required},
        {"title": "Settings", "subtitle": "", "items": [item | {"advanced": True} for item in more]},
    ]


def _item(name: str, kind: str, label: str, *, required: bool = False, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": kind, "label": label, "required": required, "advanced": False, **more}


def _clean(slug: str) -> str:
    return slug.lower().replace(" ", "-").replace(".", "-")


def render_uploaded(
    *, file_id: str, name: str, content_type: str, size: int, folder: str, url: str, added_s: int
) -> dict[str, Any]:
    """The answer to File/Upload. `size` in bytes, `added_s` in seconds since the epoch."""
    stored = {
        "id": file_id,
        "name": name,
        "contenttype": content_type,
        "size": str(size),
        "parentid": folder,
        "url": url,
        "addedtime": str(added_s),
        "accesskey": file_id.replace("-", ""),
    }
    return {"result": True, "errors": [], "list": [stored]}


def parse_uploaded(body: Any) -> str:
    """Where an uploaded file is. Raises the error that the body stands for, or Unreadable."""
    stored = body.get("list") if isinstance(body, Mapping) else None
    first = stored[0] if isinstance(stored, list) and stored else None
    url = first.get("url") if isinstance(first, Mapping) else None
    if isinstance(url, str) and url:
        return url
    raise parse_error(200, body) or Unreadable("the answer carries no address of the file")
