"""What happens between a request and its answer, without sockets: accounts, limits, faults, callbacks."""

import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from tools.provider_simulator.account import Books
from tools.provider_simulator.dialects.base import Answered, ApiCall, Request, SaysNo, SimulatedDialect
from tools.provider_simulator.faults import Faults, Mishap
from tools.provider_simulator.task import ClipShape, Ordered, Task

_MICRO = 1_000_000
_OPEN = ("queued", "running")
_PAGE = "<html><body>Bad Gateway</body></html>"


@dataclass
class Knobs:
    """What can be set while it runs. Times in s; `rate`: submissions in 10 s; `size` (width, height) and `frames`: of
    all clips, instead of what was asked."""

    queue_s: float = 0.1
    render_s: float = 0.3
    slower: float = 1.0
    price_factor: float = 1.0
    retired: tuple[str, ...] = ()
    rate: int | None = None
    concurrency: int | None = None
    retry_after: float | None = None
    link_s: float = 86_400.0
    oversized_bytes: int = 64 << 20
    size: tuple[int, int] | None = None
    frames: int | None = None


class Cut(Exception):
    """Break the connection: after `sent` bytes of `whole`, `seconds` from now."""

    def __init__(self, whole: bytes = b"", sent: int = 0, seconds: float = 0.0) -> None:
        super().__init__("cut")
        self.whole, self.sent, self.seconds = whole, sent, seconds


class ClipAsked(Exception):
    """The answer is the clip of a task."""

    def __init__(self, task: Task) -> None:
        super().__init__(task.id)
        self.task = task


class Simulator:
    """Threads may share one."""

    def __init__(
        self, dialect: SimulatedDialect, folder: Path, *, key: str, secret: str | None, balance: float
    ) -> None:
        self.dialect, self.books = dialect, Books(folder, round(balance * _MICRO))
        self.faults, self.knobs = Faults(), Knobs()
        #: where it can be reached, known once it listens
        self.address = ""
        self._key, self._secret = key, secret
        self._submits: deque[float] = deque()
        self._lock = threading.Lock()
        self._http = httpx.Client(timeout=5, trust_env=False, verify=False)  # noqa: S501 - to the tests' own receivers

    # --- requests

    def answer(self, request: Request) -> Answered:
        """The provider's answer. Raises Cut and ClipAsked."""
        call = self.dialect.call(request)
        try:
            if call is None:
                raise SaysNo("unknown", f"no path {request.method} {request.path}")
            self.dialect.check_key(request, self._key, self._secret)
            if call.action == "create":
                return self._create(call, request)
            mishap = self.faults.draw("cancel" if call.action == "kill" else call.action)
            if mishap is not None and mishap.do == "unknown":
                raise SaysNo("unknown")
            if mishap is not None and mishap.do == "refuse":
                raise SaysNo(mishap["kind"], retry_after=mishap.get("retry_after"))
            return self._spoilt(mishap, self._read(call, request))
        except SaysNo as no:
            return self.dialect.refused(no, call)

    def _create(self, call: ApiCall, request: Request) -> Answered:
        self.books.count("submits")
        mishap = self.faults.draw("create")
        do = mishap.do if mishap else ""
        if mishap and do == "refuse" and not mishap.get("accept"):
            raise SaysNo(mishap["kind"], retry_after=mishap.get("retry_after"))
        if mishap and do in ("drop", "http") and not mishap.get("accept", True):
            return self._spoilt(mishap, Answered(200, {}))
        with self.books.at_once():
            asked = self._checked(call, request)
            task = self._accept(asked, mishap)
            if do == "twice":
                self._accept(asked, None)
        if do == "forged" and asked.callback_url:
            threading.Thread(target=self._forge, args=(task,), daemon=True).start()
        if mishap and do == "refuse":
            raise SaysNo(mishap["kind"], retry_after=mishap.get("retry_after"))
        return self._spoilt(mishap, self.dialect.created(task))

    def _checked(self, call: ApiCall, request: Request) -> Ordered:
        knobs, now = self.knobs, self.books.now()
        if call.what in knobs.retired:
            raise SaysNo("model")
        asked = self.dialect.asked(call, request)
        if knobs.rate is not None:
            while self._submits and now - self._submits[0] > 10:
                self._submits.popleft()
            if len(self._submits) >= knobs.rate:
                self.books.count("too_fast")
                raise SaysNo("busy", retry_after=knobs.retry_after)
            self._submits.append(now)
        if knobs.concurrency is not None and self.books.open_tasks() >= knobs.concurrency:
            self.books.count("too_many")
            raise SaysNo("busy", retry_after=knobs.retry_after)
        if self.books.balance() < self.cost(asked):
            raise SaysNo("credit")
        return asked

    def cost(self, asked: Ordered) -> int:
        """Millionths of the unit."""
        least, most = self.dialect.billed
        seconds = min(max(asked.seconds, least), most)
        return round(self.dialect.prices[asked.resolution] * self.knobs.price_factor * seconds * _MICRO)

    def _accept(self, asked: Ordered, mishap: Mishap | None) -> Task:
        knobs, now = self.knobs, self.books.now()
        self.books.count("accepted")
        starts = now + knobs.queue_s
        later_s = float(mishap.get("seconds", 5)) if mishap and mishap.do == "late" else 0.0
        task = Task(
            id=self.dialect.new_id(self.books.number("accepted")),
            token=secrets.token_hex(15),
            asked=asked,
            created=now,
            starts=starts,
            ends=starts + knobs.render_s * knobs.slower + later_s,
            cost=self.cost(asked),
            **_fate(mishap),
        )
        self.books.add(task)
        return task

    def _read(self, call: ApiCall, request: Request) -> Answered:
        now, dialect = self.books.now(), self.dialect
        match call.action:
            case "balance":
                return dialect.balance(self.books.balance())
            case "estimate":
                return dialect.estimate(self.cost(dialect.asked(call, request)))
            case "list":
                return dialect.listed(self.books.tasks(), now)
            case "upload":
                name, size = next(iter(request.sizes.items()), (call.what, 0))
                return dialect.uploaded(f"{self.address}/_files/upload/{name}", name, size)
        task = self.books.task(call.what)
        if task is None:
            raise SaysNo("unknown")
        if call.action == "content":
            if task.state(now) != "success":
                raise SaysNo("unknown")
            raise ClipAsked(task)
        if call.action == "status":
            if task.fate == "cancelled" and dialect.forgets:
                raise SaysNo("unknown")
            return dialect.told(task, now, self.link(task))
        if not dialect.cancellable(call, task, now):
            raise SaysNo("input", "Task is not in a cancellable state.")
        return dialect.cancelled(self.books.change(task, fate="cancelled"), now)

    def _spoilt(self, mishap: Mishap | None, good: Answered) -> Answered:
        """The answer as it comes through."""
        match mishap:
            case Mishap(do="drop"):
                raise Cut
            case Mishap(do="half"):
                raise Cut(good.bytes, len(good.bytes) // 2)
            case Mishap(do="hang"):
                raise Cut(seconds=float(mishap.get("seconds", 60)))
            case Mishap(do="http"):
                return Answered(int(mishap.get("status", 502)), str(mishap.get("body", _PAGE)))
            case Mishap(do="text"):
                return Answered(200, _PAGE)
        return good

    # --- results

    def link(self, task: Task) -> str:
        """Where the video is, as long as that is true."""
        now = self.books.now()
        until = (now if self.dialect.fresh_links else task.ends) + self.knobs.link_s
        if task.clip == "expired":
            until = task.created
        return f"{self.address}/_files/{task.id}/{int(until)}/video.mp4"

    def shape(self, task: Task) -> ClipShape:
        """Of its clip."""
        shape = task.asked.shape
        width, height = self.knobs.size or (shape.width, shape.height)
        return ClipShape(width, height, self.knobs.frames or shape.frames, shape.fps)

    # --- callbacks

    def tell(self) -> None:
        """Send the callbacks of tasks that have ended; each in a thread of its own."""
        for task in self.books.to_tell():
            mishap = self.faults.draw("callback")
            if mishap is None or mishap.do != "none":
                threading.Thread(target=self.call_back, args=(task, mishap), daemon=True).start()

    def call_back(self, task: Task, mishap: Mishap | None = None) -> None:
        """Tell the caller how its task stands."""
        do = mishap.do if mishap else ""
        if mishap and do == "late":
            time.sleep(float(mishap.get("seconds", 5)))
        for body in self._bodies(task, do):
            self._post(task, body)

    def _forge(self, task: Task) -> None:
        done = replace(task, fate="success", starts=task.created, ends=task.created)
        self._post(task, self.dialect.callback(done, task.created, f"{self.address}/_files/forged/0/video.mp4"))

    def _post(self, task: Task, body: Any) -> None:
        with suppress(httpx.HTTPError):
            self._http.post(str(task.asked.callback_url), json=body)
            self.books.count("called_back")

    def _bodies(self, task: Task, do: str) -> Iterator[Any]:
        now = self.books.now()
        body = self.dialect.callback(task, now, self.link(task))
        yield body
        if do == "twice":
            yield body
        if do == "order":
            yield self.dialect.callback(replace(task, starts=task.created, ends=now + 1), now, "")

    # --- for tests and people

    def ledger(self) -> Mapping[str, Any]:
        """Everything that was accepted, and what of it is charged by now."""
        now, books = self.books.now(), self.books
        return {
            "dialect": self.dialect.name,
            "unit_usd": self.dialect.unit_usd,
            "balance": books.balance() / _MICRO,
            **{name: books.number(name) for name in ("submits", "accepted", "too_fast", "too_many", "called_back")},
            "open": books.open_tasks(),
            "charged": [
                {
                    "id": task.id,
                    "units": task.charged(now) / _MICRO,
                    "usd": task.charged(now) / _MICRO * self.dialect.unit_usd,
                    "refunded": task.charged(now) < task.cost,
                    "state": task.state(now),
                    "model": task.asked.model,
                    "prompt": task.asked.prompt,
                    "callback_url": task.asked.callback_url,
                    "clip": task.clip,
                }
                for task in reversed(books.tasks())
            ],
        }


def _fate(mishap: Mishap | None) -> dict[str, Any]:
    """How a task ends that was accepted with this mishap."""
    match mishap:
        case Mishap(do="fail"):
            return {"fate": "fail", "fail_code": str(mishap.get("code", ""))}
        case Mishap(do="stuck"):
            return {"fate": "stuck"}
        case Mishap(do="word"):
            return {"word": str(mishap.get("word", "meditating"))}
        case Mishap(do="clip"):
            return {"clip": str(mishap["as"])}
    return {}
