"""Reading server-sent events (WHATWG HTML, section 9.2): lines in, messages out. Pure; it connects to nothing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSentEvent:
    """`id` is the last one that the stream gave, also when this message has none of its own."""

    id: str | None
    event: str
    data: str


def read_messages(lines: Iterable[str]) -> Iterator[ServerSentEvent]:
    """Comments (the farm's sign of life) and a message that breaks off before its empty line are dropped."""
    last_id: str | None = None
    event, data = "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield ServerSentEvent(last_id, event or "message", "\n".join(data))
            event, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            last_id = value or None
