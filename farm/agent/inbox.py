"""Fetches what an attempt renders from to this machine's disk: inputs and LoRAs, checked against their hashes, and
the request that names them."""

import mimetypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from farm.agent.attempt_context import AttemptContext
from farm.claiming import retry
from farm.jobs.errors import FaultCode, JobFault, NotFound
from farm.jobs.job import Claim
from farm.jobs.spec import InputRef
from models.planning.request import Lora, RenderRequest
from models.weights.digest import sha256_of


class Inbox:
    """One attempt's. `folder` is its own; `check` is called between the files, and while the store is away, and may
    raise to give up."""

    def __init__(self, context: AttemptContext, claim: Claim, folder: Path, check: Callable[[], None]) -> None:
        self._context, self._claim, self._check = context, claim, check
        self._in, self._out = folder / "in", folder / "out"

    def fill(self) -> RenderRequest:
        """Fetch all that the job renders from. The request's paths are in the attempt's folder.

        JobFault input_unreachable for an object that is gone, storage_failed for content that differs from what was
        stored, or when the store does not answer for longer than an attempt may be stuck.
        """
        self._in.mkdir(parents=True)
        self._out.mkdir()
        spec = self._claim.job.spec
        inputs = {role: str(self._input(role, ref)) for role, ref in spec.inputs.items()}
        loras = tuple(self._lora(one) for one in spec.loras)
        return RenderRequest(
            model=spec.model,
            task=spec.task,
            prompt=spec.prompt,
            negative_prompt=spec.negative_prompt,
            width=spec.width,
            height=spec.height,
            frames=spec.frames,
            fps=spec.fps,
            steps=spec.steps,
            guidance=spec.guidance,
            guidance_2=spec.guidance_2,
            shift=spec.shift,
            seed=spec.seed,
            out_dir=str(self._out),
            inputs=inputs,
            input_sha256={role: ref.sha256 for role, ref in spec.inputs.items() if ref.sha256},
            loras=loras,
            options=spec.options,
            provenance={"worker": self._context.worker, "job": self._claim.job.id, "attempt": int(self._claim.attempt)},
        )

    def _input(self, role: str, ref: InputRef) -> Path:
        key = ref.key
        if key is None:
            raise JobFault(FaultCode.INPUT_UNREACHABLE, f"the {role} was never stored")
        path = self._in / (role + (mimetypes.guess_extension(ref.content_type or "") or ""))
        try:
            self._fetched(lambda: self._context.store.get_file(key, path))
        except NotFound as error:
            raise JobFault(FaultCode.INPUT_UNREACHABLE, f"the stored {role} is gone") from error
        expected = ref.kept_sha256 or ref.sha256
        if expected is not None and sha256_of(path) != expected:
            raise JobFault(FaultCode.STORAGE_FAILED, f"the stored {role} is not what was taken in")
        return path

    def _lora(self, one: Mapping[str, Any]) -> Lora:
        return self._fetched(lambda: self._context.loras.bring(one, self._in))

    def _fetched(self, call: Callable[[], retry.Answer]) -> retry.Answer:
        self._check()
        return retry.store(call, self._check, self._context.settings.lease.stuck_s)
