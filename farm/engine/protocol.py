"""What agent and engine say to each other: JSON lines over two pipes (agent -> engine, engine -> agent).

agent -> engine
    {"op": "render", "render": ID, "request": RenderRequest}
    {"op": "cancel", "render": ID}                  stop at the next step or block, keep the model warm
    {"op": "exit"}                                  end when idle
engine -> agent
    {"ev": "ready", "device": {...}, "models": [...]}         once, when it can take work
    {"ev": "progress", "render": ID, "stage", "fraction", "step", "steps"}
    {"ev": "result", "render": ID, "result": RenderResult, "lane": LANE}
    {"ev": "fault", "render": ID, "code", "message", "poisoned", "lane": LANE or null}
    {"ev": "cancelled", "render": ID, "lane": LANE or null}
The end of the pipe means that the other side is gone. ID is "{job}:{attempt}".
"""

import json
from typing import IO, Any


def send(pipe: IO[str], message: dict[str, Any]) -> None:
    pipe.write(json.dumps(message, separators=(",", ":")) + "\n")
    pipe.flush()


def receive(pipe: IO[str]) -> dict[str, Any] | None:
    """The next message, or None when the other side is gone (a half-written last line counts as gone)."""
    line = pipe.readline()
    if not line.endswith("\n"):
        return None
    message: dict[str, Any] = json.loads(line)
    return message
