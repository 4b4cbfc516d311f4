"""Prefetch: a second thread encodes the next render's texts and reads its inputs while this one has the device.
Optional and without effect on the frames: what is missing is made when the render begins."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from models import catalog
from models.acceleration import runtime
from models.planning.plan import Where
from models.planning.request import RenderRequest
from models.render import tasks
from models.render.loading import Loaded


class Prefetch:
    """Holds one request's at a time. One thread calls `prepare`, the rendering thread everything else."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._stream: Any = None
        #: held while a request is prepared: nothing that is loaded may go meanwhile
        self._working = threading.Lock()
        self._request: RenderRequest | None = None
        self._inputs: Any = None

    def prepare(self, request: RenderRequest, loaded: Callable[[], Loaded | None]) -> list[str]:
        """Returns what is ready for the request: "texts", "inputs". What was ready for another request is dropped.

        Texts are encoded only on the model that is loaded, and only where its encoder stays beside the transformer:
        bringing it would move what computes now. Raises what the inputs raise.
        """
        with self._working:
            self._request, self._inputs = request, None
            parts: list[str] = []
            model, now = catalog.get(request.model), loaded()
            if now is not None and now.model is model and now.plan.where is Where.RESIDENT:
                with self._aside():
                    tasks.encode_words(next(iter(now.pipes.values())), model, request)
                parts.append("texts")
            self._inputs = tasks.read_inputs(model, request)
            return [*parts, "inputs"] if self._inputs else parts

    def take(self, request: RenderRequest) -> Any:
        """The request's inputs as tasks.make takes them, None when they are not ready. Waits for this request's
        prefetch only."""
        if self._request == request:
            with self._working:
                return self._dropped()
        if self._working.acquire(blocking=False):
            try:
                self._dropped()
            finally:
                self._working.release()
        return None

    @contextmanager
    def kept_off(self) -> Iterator[None]:
        """Waits for a running prefetch and keeps out others while the context lasts."""
        with self._working:
            yield

    def _dropped(self) -> Any:
        inputs, self._inputs, self._request = self._inputs, None, None
        return inputs

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """A thread computes as the render's does (whether gradients are wanted is each thread's own, and picks other
        kernels), and on a GPU in a queue of its own: in the render's it would wait for every step that is queued there.
        One queue for good, since each keeps memory of its own."""
        import torch

        runtime.prepare_thread()
        if self._device.type == "cuda" and self._stream is None:
            self._stream = torch.cuda.Stream(self._device)
        with torch.no_grad(), torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            yield
