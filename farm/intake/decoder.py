"""The child of farm.intake.rendition: reads one picture, clip or sound file from its standard input, writes what the
farm keeps of it to its standard output (a file), and reports as JSON on the descriptor that its arguments name.

It opens nothing else: the demuxer is given, no protocol is allowed (a playlist inside a file would be a second
fetcher), and the kernel limits its time, memory and files, and ends it with the process that waits for it.
"""

import importlib
import json
import os
import resource
import signal
import sys
from typing import Any

from farm import lifeline
from farm.intake.refusal import Refused

#: kind -> the module that knows how; only that one's libraries are loaded
_MAKERS = {
    "PICTURE": "farm.intake.picture_rendition",
    "CLIP": "farm.intake.clip_rendition",
    "SOUND": "farm.intake.sound_rendition",
    "FINISHED": "farm.intake.finished_clip",
}


#: a third of a core's time beside a process that wants all of it
_NICE = 5


def main() -> None:
    """Make the rendition that the first argument asks for, as JSON."""
    asked = json.loads(sys.argv[1])
    _limit(asked)
    with os.fdopen(0, "rb") as source, os.fdopen(1, "r+b") as out, os.fdopen(asked["report"], "w") as report:
        try:
            found = importlib.import_module(_MAKERS[asked["kind"]]).keep(source, out, asked)
        except Refused as refused:
            found = {"refused": str(refused)}
        except MemoryError:
            # as if it had been killed: whoever asked may try with less
            os.abort()
        json.dump(found, report)


def _limit(asked: dict[str, Any]) -> None:
    """The kernel ends this process at the limits: no code of a decoder is asked to."""
    # the thread that started it waits for it, so that it lives as long
    lifeline.bind(parent=asked["parent"])
    # answers and heartbeats come before it, where cores are few
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CPU, (asked["cpu_s"], asked["cpu_s"] + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (asked["output"], asked["output"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (asked["memory"], asked["memory"]))
    signal.alarm(asked["wall_s"])


if __name__ == "__main__":
    main()
