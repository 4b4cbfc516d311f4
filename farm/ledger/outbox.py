"""The outbox: terminal jobs whose owner wants a callback, written by the same script as the state. At least once:
an entry is read again until it is acknowledged."""

from typing import Any

from redis.exceptions import ResponseError

from farm.jobs.states import State
from farm.ledger.connection import mapped, stream_entries
from farm.ledger.outcomes import OutboxEntry
from farm.ledger.scripts import Scripted

_GROUP = "webhooks"


class Outbox(Scripted):
    """Every call raises Unavailable."""

    def outbox_read(
        self, consumer: str, *, count: int = 100, block_ms: int = 0, stale_ms: int = 60_000
    ) -> list[OutboxEntry]:
        """Entries for `consumer`: first those that a consumer has had for stale_ms without acknowledging them (it
        died), then new ones. Blocks up to block_ms, which must be shorter than the socket timeout."""
        with mapped():
            try:
                return self._read(consumer, count, block_ms, stale_ms)
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                self._create_group()
                return self._read(consumer, count, block_ms, stale_ms)

    def _read(self, consumer: str, count: int, block_ms: int, stale_ms: int) -> list[OutboxEntry]:
        key = self._keys("outbox")
        claimed: Any = self._redis.xautoclaim(key, _GROUP, consumer, min_idle_time=stale_ms, count=count)
        entries = [entry for entry in claimed[1] if entry and entry[1]]
        if not entries:
            entries = stream_entries(
                self._redis.xreadgroup(_GROUP, consumer, {key: ">"}, count=count, block=block_ms or None)
            )
        return [
            OutboxEntry(entry_id, fields["job"], fields["tenant"], State(fields["state"]))
            for entry_id, fields in entries
        ]

    def _create_group(self) -> None:
        try:
            self._redis.xgroup_create(self._keys("outbox"), _GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def outbox_ack(self, entry_ids: list[str]) -> None:
        """These were delivered, or are scheduled elsewhere: they are removed."""
        if entry_ids:
            self.run("outbox_ack", _GROUP, *entry_ids)

    def outbox_size(self) -> int:
        """Entries not yet acknowledged."""
        with mapped():
            return int(self._redis.xlen(self._keys("outbox")))
