"""What the simulated dialects have in common."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tools.provider_simulator.task import SIDES, ClipShape, Ordered, Task

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """Header names are lower case; `body` is the JSON object or the fields of the form; `sizes`: bytes of its files."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Json
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> bytes:
        """The body as it is sent."""
        return json.dumps(self.body).encode()


class SaysNo(Exception):
    """kind: key, credit, busy, maintenance, server, model, input or unknown."""

    def __init__(self, kind: str, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(message or kind)
        self.kind, self.retry_after = kind, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After, where it was said."""
        return {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:g}"}


@dataclass(frozen=True)
class ApiCall:
    """What a request wants: create, status, content, cancel, balance, estimate, upload or list, of which model or
    task."""

    action: str
    what: str = ""


class SimulatedDialect(ABC):
    """One provider's document. `prices`: units per second by resolution; `unit_usd`: dollars of a unit."""

    name: ClassVar[str]
    unit_usd: ClassVar[float] = 1.0
    prices: ClassVar[Mapping[str, float]] = {"480p": 0.04, "580p": 0.06, "720p": 0.08}
    #: links are made anew at each question
    fresh_links: ClassVar[bool] = False
    #: what was cancelled is not known any more
    forgets: ClassVar[bool] = False
    #: seconds that are billed at least and at most
    billed: ClassVar[tuple[float, float]] = (0.0, 1e9)

    @abstractmethod
    def call(self, request: Request) -> ApiCall | None:
        """None: there is no such path."""

    @abstractmethod
    def check_key(self, request: Request, key: str, secret: str | None) -> None:
        """Raises SaysNo."""

    @abstractmethod
    def asked(self, call: ApiCall, request: Request) -> Ordered:
        """Raises SaysNo for what the document does not allow."""

    @abstractmethod
    def new_id(self, number: int) -> str:
        """An id in the provider's form."""

    @abstractmethod
    def created(self, task: Task) -> Answered:
        """The answer to an accepted order."""

    @abstractmethod
    def told(self, task: Task, now: float, url: str) -> Answered:
        """The answer to a question about a task."""

    @abstractmethod
    def refused(self, no: SaysNo, call: ApiCall | None) -> Answered:
        """A refusal in the provider's words."""

    def callback(self, task: Task, now: float, url: str) -> Any:
        """The body of a callback; None: there are none."""
        return None

    def balance(self, units_micro: int) -> Answered:
        """What is left."""
        raise SaysNo("unknown", "no such path")

    def estimate(self, cost: int) -> Answered:
        """What an order would cost."""
        raise SaysNo("unknown", "no such path")

    def uploaded(self, url: str, name: str, size: int) -> Answered:
        """Where a file is now."""
        raise SaysNo("unknown", "no such path")

    def cancelled(self, task: Task, now: float) -> Answered:
        """The answer to a cancel that worked."""
        raise SaysNo("unknown", "no such path")

    def cancellable(self, call: ApiCall, task: Task, now: float) -> bool:
        """Whether this cancel works on it now."""
        return False

    def listed(self, tasks: list[Task], now: float) -> Answered:
        """All tasks."""
        raise SaysNo("unknown", "no such path")


def shape_of(resolution: str, aspect: str | None, frames: int = 81, fps: int = 16) -> ClipShape:
    """The sides of a resolution word, upright for 9:16, square for 1:1."""
    width, height = SIDES[resolution]
    if aspect == "9:16":
        width, height = height, width
    elif aspect == "1:1":
        width = height = {"480p": 624, "580p": 768, "720p": 960}[resolution]
    return ClipShape(width, height, frames, fps)


def need(body: Json, *names: str, prefix: str = "") -> None:
    """Raises SaysNo for a field that is missing or empty."""
    for name in names:
        if body.get(name) in (None, "", []):
            raise SaysNo("input", f"{prefix}{name} is required")
