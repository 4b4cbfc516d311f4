"""Clips and sound: looked through by a child process with hard limits (farm.intake.probe), because nothing else stops a
decoder that hangs or swells. Starts no decoder in this process."""

import json
import shutil
import subprocess
import sys
import tempfile
from typing import IO, Any, BinaryIO

from farm.config import IntakeSettings
from farm.intake.media import Media
from farm.jobs.errors import InvalidRequest
from farm.jobs.inputs import Kind

#: seconds that a child may take, by the clock and of CPU; a minute of 1080p takes a few
WALL_S = 60
CPU_S = 40
#: bytes of memory that a child may map
MEMORY = 4 << 30
#: pixels of one frame of a clip
MAX_FRAME_PIXELS = 4096 * 2304


def inspect(file: BinaryIO, kind: Kind, opens: str, content_type: str, limits: IntakeSettings) -> Media:
    """`opens` is libav's name of the demuxer. Raises InvalidRequest."""
    asked = {
        "kind": kind.name,
        "demuxer": opens,
        "max_s": limits.max_clip_s,
        "max_pixels": min(MAX_FRAME_PIXELS, limits.max_pixels),
        "cpu_s": CPU_S,
        "wall_s": WALL_S,
        "memory": MEMORY,
    }
    with tempfile.TemporaryFile(prefix="wanfarm-intake-") as copy:
        # the child gets a descriptor of its own: what it does to its position is no matter of ours
        file.seek(0)
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.seek(0)
        found = _probe(copy, asked, str(kind))
    if "refused" in found:
        raise InvalidRequest(found["refused"])
    return Media(content_type, **found)


def _probe(copy: IO[bytes], asked: dict[str, Any], kind: str) -> dict[str, Any]:
    """What the child found, or {"refused": sentence}. Whatever ends the child is taken as the file's fault."""
    # -I: the file's owner chooses no module, and this process' environment is none of the child's business
    command = [sys.executable, "-I", "-m", "farm.intake.probe", json.dumps(asked)]
    try:
        done = subprocess.run(
            command,
            stdin=copy,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            timeout=asked["wall_s"] + 5,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"refused": f"the {kind} takes too long to read; encode it again, plainly and shorter"}
    if done.returncode < 0:
        return {"refused": f"the {kind} takes too much to read; encode it again, plainly and smaller"}
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return {"refused": f"the {kind} is broken or cut off; encode it again and send the whole file"}
