"""What the farm keeps of an input instead of its bytes: made by a child process with hard limits
(farm.intake.decoder), because nothing else stops a decoder that hangs, swells or crashes. Decodes nothing itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from farm.config import IntakeSettings
from farm.intake.media import Form, Media
from farm.jobs.errors import InvalidRequest
from farm.jobs.inputs import Kind

#: seconds of CPU that a child may take; a second of 1080p takes one, of HDR two and a half
CPU_S = {Kind.PICTURE: 20, Kind.CLIP: 240, Kind.SOUND: 40}
#: and by the clock: so many that a busy machine does not make a file look like one that takes too much
WALL_S = 240
#: bytes of memory that a child may map, and of the file that it may write
MEMORY, OUTPUT = {Kind.PICTURE: 2 << 30, Kind.CLIP: 4 << 30, Kind.SOUND: 2 << 30}, 2 << 30
#: pixels of one frame of a clip
MAX_FRAME_PIXELS = 4096 * 2304
#: what a rendition is
CONTENT_TYPES = {Kind.PICTURE: "image/png", Kind.CLIP: "video/mp4", Kind.SOUND: "audio/flac"}
#: how a child ends that took too long; by any other signal it crashed
_SLOW = frozenset({signal.SIGALRM, signal.SIGXCPU, signal.SIGKILL})
_LEFT_OUT = "its sound cannot be read here, and was left out"


@dataclass(frozen=True)
class Rendition:
    """A checked input as the farm keeps it; `file` is its bytes, at their beginning, for the caller to close."""

    media: Media
    file: BinaryIO


#: whether nobody waits for the rendition any more; whoever asks for one on a client's behalf sets it in its context
abandoned: ContextVar[Callable[[], bool]] = ContextVar("abandoned", default=lambda: False)
#: how soon that is noticed, s
_NOTICE_S = 0.25


def make(file: BinaryIO, kind: Kind, form: Form, limits: IntakeSettings) -> Rendition:
    """Decode a whole, seekable file of that form. Raises InvalidRequest saying what to do instead."""
    asked = _asked(kind, form, limits) | {"kind": kind.name}
    with tempfile.TemporaryFile(prefix="wanfarm-intake-") as copy:
        # the child gets a descriptor of its own: what it does to its position is no matter of ours
        file.seek(0)
        shutil.copyfileobj(file, copy, 1 << 20)
        made = tempfile.TemporaryFile(prefix="wanfarm-rendition-")  # noqa: SIM115 - the caller's
        try:
            found = _decoded(copy, made, asked, kind)
            if "refused" in found:
                raise InvalidRequest(found["refused"])
        except BaseException:
            made.close()
            raise
    found["notes"] = tuple(found["notes"])
    made.seek(0)
    return Rendition(Media(CONTENT_TYPES[kind], **found), made)


def look_at_finished(file: BinaryIO, form: Form, limits: IntakeSettings) -> Rendition:
    """Decode a whole video that somebody else rendered; the rendition's file is its poster, a JPEG. Raises
    InvalidRequest where it is broken or larger than the limits."""
    asked = _asked(Kind.CLIP, form, limits) | {"kind": "FINISHED", "sound": False}
    made = tempfile.TemporaryFile(prefix="wanfarm-poster-")  # noqa: SIM115 - the caller's
    try:
        found, _ = _child(file, made, asked, Kind.CLIP)
        if "refused" in found:
            raise InvalidRequest(found["refused"])
    except BaseException:
        made.close()
        raise
    made.seek(0)
    return Rendition(Media("image/jpeg", **found | {"notes": tuple(found["notes"])}), made)


def _asked(kind: Kind, form: Form, limits: IntakeSettings) -> dict[str, Any]:
    return {
        "opens": form.opens,
        "max_s": limits.max_clip_s,
        "max_pixels": limits.max_pixels if kind is Kind.PICTURE else min(MAX_FRAME_PIXELS, limits.max_pixels),
        "max_side": limits.max_side,
        "cpu_s": CPU_S[kind],
        "wall_s": WALL_S,
        "memory": MEMORY[kind],
        "output": OUTPUT,
        "sound": True,
    }


def _decoded(copy: IO[bytes], made: IO[bytes], asked: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """What the child found, or {"refused": sentence}. A clip whose sound crashes decoders is kept without it."""
    found, crashed = _child(copy, made, asked, kind)
    if crashed and kind is Kind.CLIP:
        found, crashed = _child(copy, made, asked | {"sound": False}, kind)
        if "refused" not in found:
            found["notes"] = [*found["notes"], _LEFT_OUT]
    return found


def _child(
    copy: IO[bytes] | BinaryIO, made: IO[bytes], asked: dict[str, Any], kind: Kind
) -> tuple[dict[str, Any], bool]:
    """(what the child found, whether it crashed). Whatever ends the child is taken as the file's fault."""
    copy.seek(0)
    made.seek(0)
    made.truncate()
    hears, tells = os.pipe()
    # -I: the file's owner chooses no module, and this process' environment is none of the child's business
    command = [
        sys.executable,
        "-I",
        "-m",
        "farm.intake.decoder",
        json.dumps(asked | {"report": tells, "parent": os.getpid()}),
    ]
    try:
        with os.fdopen(hears, "rb") as report:
            try:
                child = subprocess.Popen(
                    command,
                    stdin=copy,
                    stdout=made,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(tells,),
                    # on a machine of many cores, memory for a thread on each would be more than may be mapped
                    env={"OPENBLAS_NUM_THREADS": "1"},
                )
            finally:
                os.close(tells)
            with child:
                if (why := _watch(child, asked["wall_s"] + 5)) is not None:
                    return _refused(f"the {kind} {why}"), False
            told = report.read()
    except OSError as error:
        raise InvalidRequest(f"the {kind} cannot be read") from error
    if child.returncode < 0:
        crashed = -child.returncode not in _SLOW
        return _refused(f"the {kind} takes too much to read; encode it again, plainly and smaller"), crashed
    try:
        return dict(json.loads(told)), False
    except ValueError:
        return _refused(f"the {kind} is broken or cut off; encode it again and send the whole file"), True


def _watch(child: subprocess.Popen[bytes], seconds: float) -> str | None:
    """Until it ends by itself (None); or kill it, and say why."""
    end, unwanted = time.monotonic() + seconds, abandoned.get()
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                child.wait(_NOTICE_S)
                return None
            if unwanted():
                return "is not waited for any more"
            if time.monotonic() > end:
                return "takes too long to read; encode it again, plainly and shorter"
    finally:
        child.kill()


def _refused(sentence: str) -> dict[str, Any]:
    return {"refused": sentence}
