"""What agent and engine say to each other: JSON lines over two pipes (agent -> engine, engine -> agent).

agent -> engine
    {"op": "render", "render": ID, "request": RenderRequest}
    {"op": "prefetch", "render": ID, "request": RenderRequest}   the next render, while another one runs
    {"op": "cancel", "render": ID}                  stop at the next step or block, keep the model warm
    {"op": "exit"}                                  end when idle
engine -> agent
    {"ev": "ready", "device": {...}, "models": [...]}         once, when it can take work
    {"ev": "progress", "render": ID, "stage", "fraction", "step", "steps"}
    {"ev": "prefetched", "render": ID, "parts": [...]}          what is ready now; empty when it failed
    {"ev": "rendered", "render": ID, "lane": LANE}               the device is free: the next render may be asked for
    {"ev": "result", "render": ID, "result": RenderResult}    after "rendered": checked, encoded, written
    {"ev": "fault", "render": ID, "code", "message", "poisoned", "lane": LANE or null}
    {"ev": "cancelled", "render": ID, "lane": LANE or null}
The last two come before or after "rendered"; after it they name no lane, since that is the next render's by then. One
render uses the device at a time; several may be between "rendered" and their result: the agent bounds how many.
The end of the pipe means that the other side is gone. ID is "{job}:{attempt}".

The engine is started as `python -m MODULE LAUNCH`, LAUNCH being the JSON of a Launch.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Self


@dataclass(frozen=True)
class Launch:
    """What an engine gets at its start.

    commands, answers  file descriptors that it inherits: to read, to write
    parent      pid of the agent; an engine whose parent is another one has been orphaned and ends
    lock        file that it holds a flock on while it lives: one engine per device
    device      "cpu" or "cuda" (CUDA_VISIBLE_DEVICES is set already)
    models      catalog ids to offer; empty: all whose weights are there
    speed       keyword arguments of models.acceleration.tuning.Wishes
    memory      keyword arguments of models.acceleration.memory.MemoryLimits
    warm        shapes to render before it is ready, "MODEL WIDTHxHEIGHTxFRAMES"
    """

    commands: int
    answers: int
    parent: int
    lock: str
    device: str
    models_dir: str | None
    models: tuple[str, ...] = ()
    speed: dict[str, str] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    warm: tuple[str, ...] = ()

    def to_text(self) -> str:
        """The launch as JSON, for the engine's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The launch back from its JSON."""
        values = json.loads(text)
        values["models"], values["warm"] = tuple(values["models"]), tuple(values.get("warm", ()))
        return cls(**values)


def send(pipe: IO[str], message: dict[str, Any]) -> None:
    """Write one message as a JSON line. Raises OSError or ValueError when the other side is gone."""
    pipe.write(json.dumps(message, separators=(",", ":")) + "\n")
    pipe.flush()


def receive(pipe: IO[str]) -> dict[str, Any] | None:
    """The next message, or None when the other side is gone (a half-written last line counts as gone)."""
    line = pipe.readline()
    if not line.endswith("\n"):
        return None
    message: dict[str, Any] = json.loads(line)
    return message
