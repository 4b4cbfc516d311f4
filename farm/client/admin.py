"""`farm.admin` of the client: what an operator's key may do. Forbidden with another. `why` is kept in the log."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from farm.client.transport import Transport
from farm.wire.own_admin import (
    ActView,
    DecisionList,
    DecisionView,
    OperationList,
    OperationView,
    PauseList,
)
from farm.wire.own_views import Pausable, PauseView


class Admin:
    """Each act answers whether it changed anything."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def pauses(self) -> list[PauseView]:
        """What is paused now."""
        return self._transport.ask(PauseList, "GET", "/v1/admin/pauses").data

    def pause(self, kind: Pausable, name: str, *, why: str) -> bool:
        """Nothing of the tenant, lane, pool or provider, or on the worker, starts any more; what runs goes on."""
        return self._act("pause", {"kind": kind, "name": name, "why": why})

    def resume(self, kind: Pausable, name: str, *, why: str) -> bool:
        """The end of a pause."""
        return self._act("resume", {"kind": kind, "name": name, "why": why})

    def urgent(self, job_id: str, *, why: str) -> bool:
        """The job goes before every other of its pool."""
        return self._act(f"jobs/{quote(job_id, safe='')}/tier", {"tier": "urgent", "why": why})

    def normal(self, job_id: str, *, why: str) -> bool:
        """The job is no longer urgent."""
        return self._act(f"jobs/{quote(job_id, safe='')}/tier", {"tier": "normal", "why": why})

    def requeue(self, job_id: str, *, why: str) -> bool:
        """Taken back from its worker, uncounted, or out of its backoff."""
        return self._act(f"jobs/{quote(job_id, safe='')}/requeue", {"why": why})

    def move(self, job_id: str, pool: str, *, why: str) -> bool:
        """To another pool, where nobody renders it yet."""
        return self._act(f"jobs/{quote(job_id, safe='')}/move", {"pool": pool, "why": why})

    def fail(self, job_id: str, *, why: str) -> bool:
        """The job ends as failed, unbilled."""
        return self._act(f"jobs/{quote(job_id, safe='')}/fail", {"why": why})

    def operations(self) -> Iterator[OperationView]:
        """What operators did, newest first."""
        yield from self._pages(OperationList, "operations")

    def decisions(self) -> Iterator[DecisionView]:
        """What was decided about buying jobs, newest first."""
        yield from self._pages(DecisionList, "decisions")

    def _pages(self, kind: type[Any], path: str) -> Iterator[Any]:
        query: dict[str, Any] = {}
        while True:
            answer = self._transport.ask(kind, "GET", f"/v1/admin/{path}", params=query)
            yield from answer.data
            if answer.next_cursor is None:
                return
            query["cursor"] = answer.next_cursor

    def _act(self, path: str, body: dict[str, Any]) -> bool:
        return self._transport.ask(ActView, "POST", f"/v1/admin/{path}", json=body).changed
