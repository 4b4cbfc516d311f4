"""`farm.loras` of the client: a tenant's own LoRAs, and how a job names them."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from farm.client.transport import Transport
from farm.jobs import errors
from farm.wire.own_loras import LoraList, LoraView
from farm.wire.own_views import UploadView

#: a LoRA of a job: its name or id, an answer of `farm.loras`, or {"lora": name, "scale": 0.8, "expert": "high"}
JobLora = str | LoraView | Mapping[str, Any]

#: seconds that the farm may look at a file: it reads all of it before it answers
_LOOK_S = 900.0


class Loras:
    """The calls of /v1/loras. Raises as Client does."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add(self, path: Path | str, name: str | None = None) -> LoraView:
        """Send a .safetensors file and name it (default: the file's name without its ending). It is read from disk as
        it goes, and the farm compares its hash.

            farm.loras.add(Path("fox_style.safetensors"), "fox")
            farm.jobs.create("a fox", loras=[{"lora": "fox", "scale": 0.8}])

        Raises InvalidRequest with what is wrong with the file, Conflict when the name or the file is there already.
        """
        path = Path(path)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            upload = self._transport.ask(UploadView, "POST", "/v1/uploads", json={"for": "lora", "size": size})
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            self._transport.store(upload.url, file, size)
        body = {"name": path.stem if name is None else name, "upload": upload.id, "sha256": sha256}
        return self._transport.ask(LoraView, "POST", "/v1/loras", json=body, timeout=_LOOK_S)

    def list(self) -> list[LoraView]:
        """By name."""
        return self._transport.ask(LoraList, "GET", "/v1/loras").data

    def get(self, name_or_id: str) -> LoraView:
        """NotFound also for one of somebody else."""
        return self._transport.ask(LoraView, "GET", _path(name_or_id))

    def remove(self, name_or_id: str) -> LoraView:
        """Open jobs that use it still do; new ones cannot. Its name is free at once."""
        return self._transport.ask(LoraView, "DELETE", _path(name_or_id))


def asked(loras: Sequence[JobLora]) -> list[Mapping[str, Any]]:
    """As a create request says it; what is no LoRA goes as it is, for the farm to name."""
    return [_one(lora) for lora in loras]


def _one(lora: JobLora) -> Mapping[str, Any]:
    if isinstance(lora, LoraView):
        return {"lora": lora.id}
    return {"lora": lora} if isinstance(lora, str) else lora


def _path(name_or_id: str) -> str:
    if name_or_id in ("", ".", ".."):
        raise errors.NotFound(f"no LoRA {name_or_id!r}")
    return f"/v1/loras/{quote(name_or_id, safe='')}"
