"""The demo: a whole farm in a temporary folder, a batch of real jobs through its front door, the results in out/, and
nothing left running. It uses the public parts: `wanfarm up` and farm.client.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.client import Client, Files
from farm.embedded import samples
from farm.embedded.launched import Launched
from farm.jobs.errors import FarmError
from farm.wire.own_views import JobView
from models.catalog import MODELS

LABEL = "demo"
#: (name, model without "-tiny", with the picture, what is asked for): in words that the tiny models know
_SHOTS: Sequence[tuple[str, str, bool, dict[str, Any]]] = (
    ("red-square-rises", "wan2.2-t2v-a14b", False, {"prompt": "a red square moves up, water", "seed": 0}),
    ("blue-star-grows", "wan2.2-t2v-a14b", False, {"prompt": "a blue star grows on a sunny day", "seed": 2}),
    ("orange-circle-jumps", "wan2.2-t2v-a14b", False, {"prompt": "an orange circle jumps in the snow", "seed": 3}),
    ("yellow-heart-turns", "wan2.2-t2v-a14b", False, {"prompt": "a yellow heart turns at night", "seed": 4}),
    ("purple-triangle-right", "wan2.2-t2v-a14b", False, {"prompt": "a purple triangle moves right, day", "seed": 5}),
    ("picture-heart-rises", "wan2.2-i2v-a14b", True, {"prompt": "a red heart moves up, water", "seed": 6}),
)


@dataclass(frozen=True)
class DemoClip:
    """One shot of the demo: the job as it ended, and its files when it succeeded."""

    job: JobView
    files: Files | None


class DemoFailed(FarmError):
    """The farm did not come up, or a shot did not succeed. The logs were kept where the text says."""


@contextmanager
def demo_farm(say: Callable[[str], None], on_part: Callable[[str, str], None]) -> Iterator[Client]:
    """A farm of its own, with the tiny models on whatever this machine has. Its folder goes when all went well.

    `on_part` hears how its parts come up (farm.embedded.launched).
    """
    tiny = [model.id for model in MODELS.values() if model.weights.tiny]
    folder = Path(tempfile.mkdtemp(prefix="wanfarm-demo-"))
    # torch leaves caches in the temporary folder
    (folder / "tmp").mkdir()
    environment = {"WANFARM_WORKER__MODELS": json.dumps(tiny), "TMPDIR": str(folder / "tmp")}
    with (folder / "up.log").open("wb") as log:
        launched = Launched.start(folder / "farm", environment=environment, output=log)
        try:
            notes = launched.wait_up(on_part=on_part)
            assert notes.key is not None
            with Client(notes.url, notes.key) as client:
                yield client
        except KeyboardInterrupt:
            say("ending the farm")
            launched.stop(hurry=True)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except BaseException:
            launched.stop(hurry=True)
            say(f"the farm's folder is kept for a look: {folder}")
            raise
        status = launched.stop(hurry=True)
    if status != 0:
        raise DemoFailed(f"the farm did not end cleanly (exit status {status}); logs: {folder}")
    shutil.rmtree(folder, ignore_errors=True)


def submit_shots(client: Client) -> list[JobView]:
    """The demo's shots: text to video, and image to video from a picture that ships with Wanfarm."""
    picture = samples.heart()
    jobs = []
    for name, model, with_picture, shot in _SHOTS:
        fields = {"prompt": shot["prompt"], "image": picture if with_picture else None}
        more = {field: value for field, value in shot.items() if field != "prompt"}
        jobs.append(client.jobs.create(**fields, **more, model=f"{model}-tiny", name=name, label=LABEL))
    return jobs


def fetch(client: Client, jobs: Sequence[JobView], out: Path) -> list[DemoClip]:
    """Download what succeeded into `out`, under the shots' names."""
    return [
        DemoClip(job, client.jobs.download(job, out, stem=job.name) if job.result is not None else None) for job in jobs
    ]
