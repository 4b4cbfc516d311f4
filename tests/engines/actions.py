"""An engine that does what the prompt says, run by the real child loop: the endings that a real one has on bad days.

ok            files at once                   slow:N       N steps of a tenth of a second each
error         a fault that may be retried     invalid      a fault that is the job's own
poisoned      a fault, then the process ends  crash        an exception that nobody foresaw
oom           the device's memory is full     exit         the process ends in silence
weightless    the model's weights are gone    full         the disk is full
sigkill       what the kernel's out-of-memory killer does
hang          no progress, no answer, but cancellable      deaf    neither, and ignores the cancel
freeze        the whole process stops (SIGSTOP)
tail:PATH     decodes until PATH exists        draw:PATH    denoises until PATH exists, near its end
fatal:PATH    lives until PATH exists          spoilt:PATH  a fault when PATH exists, then the process ends
then:PATH:A   A once PATH exists
encode:PATH   drawn at once, encodes until PATH exists     encode-A     drawn at once, then A while it encodes
ahead-A       A when it is prepared while another is drawn; then ok
grandchild   starts a process that holds everything open, then dies
on:SLOT:A     A on that slot, one slow step elsewhere
once:PATH:A   A the first time (PATH is made), then ok

What was begun and ended, in order, is in the file `journal` of the state folder: lines "draw JOB", "drawn JOB",
"finish JOB", "finished JOB", "prepare JOB", "prepared JOB".
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from farm.engine import child
from farm.engine.protocol import Launch
from models.planning.request import (
    WEIGHTS_MISSING,
    Cancelled,
    Progress,
    RenderFault,
    RenderRequest,
    RenderResult,
    Stage,
)

Tell = Callable[[Progress], None]
Asked = Callable[[], bool]
STEP_S = 0.1


class Actions:
    def __init__(self, launch: Launch) -> None:
        self.lane: str | None = None
        self.launch = launch

    def device_facts(self) -> dict[str, Any]:
        memory = {"host_bytes": None, **self.launch.memory}
        return {"name": "actions", "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "memory": memory}

    def offered(self) -> Sequence[str]:
        return ["actions", *filter(None, [os.environ.get("ACTIONS_OFFERS")])]

    def note(self, what: str, request: RenderRequest) -> None:
        with (Path(self.launch.lock).parents[1] / "journal").open("a") as journal:
            journal.write(f"{what} {request.provenance.get('job')}\n")

    def prefetch(self, request: RenderRequest) -> Sequence[str]:
        self.note("prepare", request)
        word, _, rest = request.prompt.partition(":")
        if word.startswith("ahead-"):
            getattr(self, f"do_{word.removeprefix('ahead-')}")(rest, lambda _: None, lambda: False)
        self.note("prepared", request)
        return ["texts"]

    def render_frames(self, request: RenderRequest, on_progress: Tell, cancelled: Asked) -> "PendingOutput":
        self.lane = request.model
        self.note("draw", request)
        word, _, rest = request.prompt.partition(":")
        if word == "once":
            flag, _, action = rest.partition(":")
            word, _, rest = ("ok" if Path(flag).exists() else action).partition(":")
            Path(flag).touch()
        if word == "then":
            path, _, action = rest.partition(":")
            self.until(path, cancelled, lambda: on_progress(Progress(Stage.LOADING, 0.01)))
            word, _, rest = action.partition(":")
        if word == "on":
            slot, _, action = rest.partition(":")
            word, _, rest = (action if Path(self.launch.lock).stem == slot else "slow:1").partition(":")
        on_progress(Progress(Stage.LOADING, 0.01))
        first, _, last = word.rpartition("-")
        getattr(self, "do_ok" if first else f"do_{'ok' if word == 'encode' else word}")(rest, on_progress, cancelled)
        self.note("drawn", request)

        def finish() -> None:
            on_progress(Progress(Stage.ENCODING, 0.95, 1, 1))
            if word == "encode":
                self.until(rest, cancelled, lambda: on_progress(Progress(Stage.ENCODING, 0.96, 1, 1)))
            elif first == "encode":
                getattr(self, f"do_{last}")(rest, lambda _: None, cancelled)

        return PendingOutput(self, request, finish)

    def until(self, path: str, asked: Asked, each: Callable[[], None]) -> None:
        while not Path(path).exists():
            each()
            time.sleep(0.02)  # polls for the test's signal
            if asked():
                raise Cancelled

    def do_draw(self, rest: str, tell: Tell, asked: Asked) -> None:
        # after two steps the third is foretold, soon
        tell(Progress(Stage.DENOISING, 0.3, 1, 3))
        self.until(rest, asked, lambda: tell(Progress(Stage.DENOISING, 0.6, 2, 3)))

    def do_spoilt(self, rest: str, tell: Tell, asked: Asked) -> None:
        self.until(rest, asked, lambda: None)
        raise RenderFault("bad_output", "as asked", poisoned=True)

    def do_fatal(self, rest: str, tell: Tell, asked: Asked) -> None:
        self.until(rest, lambda: False, lambda: None)
        os.kill(os.getpid(), signal.SIGKILL)

    def do_ok(self, rest: str, tell: Tell, asked: Asked) -> None:
        tell(Progress(Stage.DENOISING, 0.5, 1, 1))

    def do_slow(self, rest: str, tell: Tell, asked: Asked) -> None:
        for step in range(int(rest)):
            time.sleep(STEP_S)  # the work itself
            tell(Progress(Stage.DENOISING, 0.9 * (step + 1) / int(rest), step + 1, int(rest)))
            if asked():
                raise Cancelled

    def do_hang(self, rest: str, tell: Tell, asked: Asked) -> None:
        while not asked():
            time.sleep(0.02)  # hanging is what is asked for
        raise Cancelled

    def do_deaf(self, rest: str, tell: Tell, asked: Asked) -> None:
        time.sleep(3600)  # deaf to everything but a signal

    def do_error(self, rest: str, tell: Tell, asked: Asked) -> None:
        raise RenderFault("engine_error", "as asked")

    def do_invalid(self, rest: str, tell: Tell, asked: Asked) -> None:
        raise RenderFault("invalid_input", "as asked")

    def do_oom(self, rest: str, tell: Tell, asked: Asked) -> None:
        raise RenderFault("out_of_memory", "as asked")

    def do_weightless(self, rest: str, tell: Tell, asked: Asked) -> None:
        raise RenderFault(WEIGHTS_MISSING, "the weights of actions are not on this machine")

    def do_full(self, rest: str, tell: Tell, asked: Asked) -> None:
        raise RenderFault("storage_failed", "the worker's disk: No space left on device")

    def do_poisoned(self, rest: str, tell: Tell, asked: Asked) -> None:
        raise RenderFault("device_fault", "as asked", poisoned=True)

    def do_crash(self, rest: str, tell: Tell, asked: Asked) -> None:
        raise KeyError("/secret/path")

    def do_exit(self, rest: str, tell: Tell, asked: Asked) -> None:
        os._exit(3)

    def do_sigkill(self, rest: str, tell: Tell, asked: Asked) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def do_freeze(self, rest: str, tell: Tell, asked: Asked) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def do_tail(self, rest: str, tell: Tell, asked: Asked) -> None:
        self.until(rest, asked, lambda: tell(Progress(Stage.DECODING, 0.9, 1, 1)))

    def do_grandchild(self, rest: str, tell: Tell, asked: Asked) -> None:
        started = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(3600)"], pass_fds=[self.launch.answers]
        )
        Path(rest).write_text(str(started.pid))
        os._exit(4)


class PendingOutput:
    def __init__(self, engine: Actions, request: RenderRequest, work: Callable[[], None]) -> None:
        self.engine, self.request, self.work = engine, request, work

    def finish(self) -> RenderResult:
        self.engine.note("finish", self.request)
        self.work()
        result = files(self.request)
        self.engine.note("finished", self.request)
        return result


def files(request: RenderRequest) -> RenderResult:
    """Small files whose content depends on the request alone."""
    out = Path(request.out_dir)
    recipe = {"seed": request.seed, "prompt": request.prompt, "provenance": dict(request.provenance)}
    mark = hashlib.sha256(f"{request.prompt} {request.seed}".encode()).digest()
    (out / "video.mp4").write_bytes(b"\x00\x00\x00\x18ftypisom" + mark)
    (out / "poster.jpg").write_bytes(b"\xff\xd8\xff\xe0" + mark)
    (out / "recipe.json").write_text(json.dumps(recipe))
    return RenderResult(
        video=str(out / "video.mp4"),
        poster=str(out / "poster.jpg"),
        recipe_path=str(out / "recipe.json"),
        recipe=recipe,
        width=request.width,
        height=request.height,
        frames=request.frames,
        fps=float(request.fps),
        timings={"denoising": 0.1},
    )


if __name__ == "__main__":
    child.main(Actions)
