"""Beat's schedule. Workers may be away, and the clock may be set."""

import logging
import time
from pathlib import Path
from typing import Any

from celery.beat import PersistentScheduler, ScheduleEntry

from farm.claiming.alive import say_alive

log = logging.getLogger(__name__)

#: beat's messages that may wait in one queue; with more, no worker consumes them
MOST_WAITING = 20
#: a clock that is behind itself by more than this was set back
_SET_BACK_S = 5.0
_FULL, _HEARD = "nobody hears them, so none is sent", "somebody hears them again"


class BoundedScheduler(PersistentScheduler):  # type: ignore[misc]
    """Sends nothing to a queue that no worker empties, goes on at once when the clock was set back, and says that it
    lives in the file `alive` beside its schedule."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._seen_s, self._full = time.time(), False
        super().__init__(*args, **more)

    def tick(self, *args: Any, **more: Any) -> float:
        """Send what is due; the seconds until the next is."""
        now_s = time.time()
        if now_s < self._seen_s - _SET_BACK_S:
            log.warning("the clock went back by %.0f s: everything is due now", self._seen_s - now_s)
            for entry in self.schedule.values():
                entry.last_run_at = entry.default_now() - entry.schedule.run_every
            # the heap of what is next was made with the old times
            self._heap = None
        self._seen_s = now_s
        wait_s = float(super().tick(*args, **more))
        say_alive(Path(self.app.conf.beat_schedule_filename).parent)
        return wait_s

    def apply_async(self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **more: Any) -> Any:
        """Send one, unless too many wait already; then None."""
        queue = (producer or self.producer).channel.queue_declare(queue=entry.options["queue"])
        full = queue.message_count >= MOST_WAITING
        if full != self._full:
            self._full = full
            log.warning("%d messages wait in %s: %s", queue.message_count, queue.queue, _FULL if full else _HEARD)
        if full:
            return None
        return super().apply_async(entry, producer=producer, advance=advance, **more)
