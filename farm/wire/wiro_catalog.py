"""wiro's lists that are not tasks: tools (models) and uploaded files. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farm.jobs.money import MICRO
from farm.wire.http import Unreadable
from farm.wire.wiro import parse_error


@dataclass(frozen=True)
class Tool:
    """A model as wiro lists it: "owner/project", a title, and micro-credits per second of video by resolution word."""

    slug: str
    title: str
    rates: Mapping[str, int]
    credit_usd: float


def render_tools(tools: Sequence[Tool], *, total: int | None = None) -> dict[str, Any]:
    """The answer to Tool/List and Tool/Detail; `total` counts also those that are not on this page."""
    count = len(tools) if total is None else total
    return {"result": True, "errors": [], "total": str(count), "tool": [_tool(tool) for tool in tools]}


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
        "categories": ["video"],
        # a JSON string, unlike everything around it
        "dynamicprice": json.dumps(prices),
    }


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
