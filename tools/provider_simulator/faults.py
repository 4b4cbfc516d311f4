"""Faults: what goes wrong, how often. Rules are matched in order; the first that fits and still has a turn is taken."""

import random
import threading
from dataclasses import dataclass, field
from typing import Any

#: when -> what may go wrong then, with the arguments that it takes
KNOWN: dict[str, dict[str, str]] = {
    "create": {
        "drop": "accept, then break the connection without a word; accept=false: break it before",
        "twice": "accept two tasks and name the first",
        "refuse": "say no; kind=key|credit|busy|maintenance|server|model|input, retry_after=s; accept=true: lie",
        "http": "answer status=502 with body=text; accept=false: and take nothing",
        "text": "accept, and answer 200 with a page of HTML",
        "half": "accept, and break the connection in the middle of the JSON",
        "hang": "accept, say nothing for seconds=60, then break",
        "fail": "accept a task that fails; code=word of the dialect",
        "stuck": "accept a task that never ends",
        "word": "accept a task with the status word=... while it is open",
        "late": "accept a task that takes seconds=... longer",
        "forged": "accept, and call back at once: it is done, with a result of somebody else",
        "clip": "accept a task whose video is as=broken|oversized|expired",
    },
    "status": {
        "drop": "break the connection",
        "refuse": "say no; kind=..., retry_after=s",
        "http": "answer status=502 with body=text",
        "text": "answer 200 with a page of HTML",
        "half": "break in the middle of the JSON",
        "hang": "say nothing for seconds=60, then break",
        "unknown": "know no such task",
    },
    "callback": {
        "none": "send none",
        "late": "send it seconds=... late",
        "twice": "send it twice",
        "order": "after it, send one that says the task is running",
    },
    "file": {
        "missing": "404",
        "cut": "break in the middle",
        "slow": "take seconds=... to begin",
    },
}
for _other in ("balance", "cancel", "estimate", "upload", "list"):
    KNOWN[_other] = {do: text for do, text in KNOWN["status"].items() if do != "unknown"}


@dataclass
class Mishap:
    """`times`: turns that it has; `chance`: of each request. The rest are arguments."""

    on: str
    do: str
    times: int | None = None
    chance: float = 1.0
    arguments: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument."""
        return self.arguments.get(name, default)


class Faults:
    """Threads may share one."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - dice, no secret
        self._lock = threading.Lock()
        self._rules: list[Mishap] = []

    def set(self, rules: list[dict[str, Any]]) -> None:
        """Replace all rules. Raises ValueError for one that does not exist."""
        made = []
        for rule in rules:
            given = dict(rule)
            on, do = str(given.pop("on", "")), str(given.pop("do", ""))
            if do not in KNOWN.get(on, {}):
                raise ValueError(f"no fault {do!r} on {on!r}; there are {KNOWN.get(on) or sorted(KNOWN)}")
            made.append(Mishap(on, do, given.pop("times", None), given.pop("chance", 1.0), given))
        with self._lock:
            self._rules = made

    def draw(self, on: str) -> Mishap | None:
        """What goes wrong with this one."""
        with self._lock:
            for rule in self._rules:
                if rule.on != on or rule.times == 0 or self._random.random() >= rule.chance:
                    continue
                if rule.times is not None:
                    rule.times -= 1
                return rule
        return None
