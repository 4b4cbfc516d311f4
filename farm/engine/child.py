"""The engine process: takes render requests from a pipe, answers on another. The only file of the farm that imports
the renderer, and so torch. It knows no Redis and no tenant.

Its end is never in doubt: it dies with its agent (parent-death signal, and the end of the pipe), it alone holds the
device's lock, and it leads a process group, so that one kill takes whatever the libraries have started.
"""

import fcntl
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol

from farm import lifeline
from farm.engine.protocol import Launch, receive, send
from farm.jobs.errors import FaultCode
from models import catalog
from models.planning.request import Cancelled, Progress, RenderFault, RenderRequest, RenderResult
from models.render import warmup
from models.render.faults import DISK

log = logging.getLogger("farm.engine")


class Unfinished(Protocol):
    """Frames that need no device any more (models.render.pending_output.PendingOutput)."""

    def finish(self) -> RenderResult:
        """Encode them, and write the files of the result. Raises RenderFault."""
        ...


class Renders(Protocol):
    """What the engine needs of a renderer (models.render.renderer.Renderer; tests have one that misbehaves).
    `render_frames` is called in one thread, `prefetch` in another, each `finish` in a thread of its own."""

    @property
    def lane(self) -> str | None:
        """What is loaded, None where nothing is."""
        ...

    def device_facts(self) -> dict[str, Any]:
        """Name, memory in bytes and driver of the device, for operators and recipes."""
        ...

    def offered(self) -> Sequence[str]:
        """Ids of the models whose weights are here and fit."""
        ...

    def prefetch(self, request: RenderRequest) -> Sequence[str]:
        """Read the weights of the next request while another one renders. Answers what was read."""
        ...

    def render_frames(
        self, request: RenderRequest, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> Unfinished:
        """Everything that needs the device. Raises RenderFault, or Cancelled when `cancelled` says so at a step."""
        ...


def main(make: Callable[[Launch], Renders]) -> None:
    """Run as the engine that the command line's Launch describes, until asked to end. `make` imports what is heavy."""
    launch = Launch.from_text(sys.argv[1])
    lifeline.bind(parent=launch.parent)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # an engine that is being killed lets go in a moment; waiting here is what keeps a device from being used twice
    lock = Path(launch.lock).open("w")  # noqa: SIM115 - held until the process ends
    fcntl.flock(lock, fcntl.LOCK_EX)
    renderer = make(launch)
    EngineChild(launch, renderer).serve()


def real(launch: Launch) -> Renders:
    """A renderer on this process's device. Raises SystemExit when the settings name no folder of models."""
    from models.acceleration.memory import MemoryLimits
    from models.acceleration.tuning import Wishes
    from models.render.renderer import Renderer

    # the process is pinned: whatever it sees is its device
    device = "cuda:0" if launch.device == "cuda" else launch.device
    if launch.models_dir is None:
        raise SystemExit("the engine needs worker.models_dir")
    renderer = Renderer(Path(launch.models_dir), device, Wishes(**launch.speed), MemoryLimits(**launch.memory))
    for shape in launch.warm:
        _warm(renderer, shape)
    return renderer


def _warm(renderer: Renders, shape: str) -> None:
    """A failure here is only logged: the job that hits it again reports it. Only a broken device ends the process."""
    try:
        warmup.warm(renderer, shape)
    except RenderFault as fault:
        log.exception("warming %s failed", shape)
        if fault.poisoned:
            raise SystemExit("the device failed while it was warmed") from fault
    except Exception:
        log.exception("warming %s failed", shape)


class EngineChild:
    """Renders in the main thread. Others listen for cancels, prefetch the next render's texts and inputs, and finish
    what was rendered."""

    def __init__(self, launch: Launch, renderer: Renders) -> None:
        self._launch = launch
        self._renderer = renderer
        for pipe in (launch.answers, launch.commands):
            # whatever a library starts must not hold them open
            os.set_inheritable(pipe, False)
        self._answers: IO[str] = os.fdopen(launch.answers, "w", encoding="utf-8")
        self._commands: IO[str] = os.fdopen(launch.commands, "r", encoding="utf-8")
        self._saying = threading.Lock()
        self._todo: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._ahead: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._asked: set[str] = set()
        self._cancelled: set[str] = set()

    def serve(self) -> None:
        """Render what is asked until the agent says exit or is gone. Blocks."""
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        threading.Thread(target=self._run_prefetch, name="prefetch", daemon=True).start()
        self._say("ready", device=self._renderer.device_facts(), models=self._offered())
        while (message := self._todo.get()) is not None:
            self._render(message["render"], message["request"])

    def _offered(self) -> list[str]:
        """The configured models whose weights are here; by default all of them, except tiny models on a GPU."""
        here = list(self._renderer.offered())
        if self._launch.models:
            return [model for model in here if model in self._launch.models]
        if self._launch.device == "cuda":
            return [model for model in here if not catalog.get(model).weights.tiny]
        return here

    def _listen(self) -> None:
        while (message := self._received()) is not None:
            match message["op"]:
                case "render":
                    self._asked.add(message["render"])
                    self._todo.put(message)
                case "prefetch":
                    self._ahead.put(message)
                case "cancel":
                    self._cancelled.add(message["render"])
                case "exit":
                    self._todo.put(None)
        # the agent is gone: end at once, so that the device is free for the next engine
        self._leave()

    def _received(self) -> dict[str, Any] | None:
        with suppress(OSError, ValueError):
            return receive(self._commands)
        return None

    # --- the next render

    def _run_prefetch(self) -> None:
        while True:
            message = self._ahead.get()
            render = str(message["render"])
            self._say("prefetched", render=render, parts=self._prefetched(render, message["request"]))

    def _prefetched(self, render: str, raw: dict[str, Any]) -> list[str]:
        """A failure is not reported here: the render itself fails the same way and reports it."""
        if render in self._asked:
            return []
        try:
            return list(self._renderer.prefetch(RenderRequest.from_json(raw)))
        except Exception:
            log.warning("render %s could not be prefetched", render, exc_info=True)
            return []

    # --- this render

    def _render(self, render: str, raw: dict[str, Any]) -> None:
        def progress(at: Progress) -> None:
            self._say("progress", render=render, **asdict(at))

        with self._answered(render, drawing=True):
            request = RenderRequest.from_json(raw)
            unfinished = self._renderer.render_frames(request, progress, lambda: render in self._cancelled)
            self._say("rendered", render=render, lane=self._renderer.lane)
            # not a daemon: asked to end when idle, the process ends when this thread has
            threading.Thread(target=self._finish, args=(render, unfinished), name=f"finish-{render}").start()

    def _finish(self, render: str, unfinished: Unfinished) -> None:
        with self._answered(render):
            result = unfinished.finish()
            self._over(render)
            self._say("result", render=render, result=asdict(result))

    @contextmanager
    def _answered(self, render: str, *, drawing: bool = False) -> Iterator[None]:
        """Report why the render failed. A fault after which the process cannot be trusted ends it."""
        try:
            yield
        except Cancelled:
            self._ended("cancelled", render, drawing)
        except RenderFault as fault:
            log.warning("render %s: %s", render, fault.code, exc_info=True)
            self._ended("fault", render, drawing, code=fault.code, message=fault.message, poisoned=fault.poisoned)
            if fault.poisoned:
                log.error("the process cannot be trusted after this fault; it ends")
                self._leave()
        except Exception as error:
            # the trace goes to the log; what an owner reads names no paths
            log.exception("render %s: unexpected error", render)
            code = FaultCode.OUT_OF_MEMORY if isinstance(error, MemoryError) else FaultCode.ENGINE_ERROR
            if isinstance(error, OSError) and error.errno in DISK:
                code = FaultCode.STORAGE_FAILED
            message = "the renderer failed; the operator's log says why"
            self._ended("fault", render, drawing, code=code, message=message, poisoned=False)

    def _ended(self, event: str, render: str, drawing: bool, **values: Any) -> None:
        self._over(render)
        lane = {"lane": self._renderer.lane} if drawing else {}
        self._say(event, render=render, **values, **lane)

    def _over(self, render: str) -> None:
        self._cancelled.discard(render)
        self._asked.discard(render)

    def _say(self, event: str, **values: Any) -> None:
        with self._saying:
            send(self._answers, {"ev": event, **values})

    def _leave(self) -> NoReturn:
        """End at once, without waiting for other threads, and kill the processes that libraries have started."""
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


if __name__ == "__main__":
    main(real)
