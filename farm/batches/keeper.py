"""What the io worker does for batches: it removes stagings that a crash left behind, finishes placings that it left,
brings acts on many jobs to their end, and starts or fails jobs whose parents are over."""

import logging
import time

from farm.batches.acts import work
from farm.batches.admission import place
from farm.batches.asked import AskedBatches
from farm.config import Settings
from farm.jobs.batch import BatchState
from farm.ledger import Ledger
from farm.ledger.outcomes import PermitPublisher

log = logging.getLogger(__name__)

#: a placing that nobody worked on for so long was left, s
_PLACING_LEFT_S = 3.0
#: s that one look spends on each act, and on jobs whose parents are over, so that all of them go on
_WORK_S = 1.0


class Keeper:
    """Call `look` again and again. Any number of processes may do so at once."""

    def __init__(
        self, settings: Settings, ledger: Ledger, permits: PermitPublisher, asked: AskedBatches | None = None
    ) -> None:
        self._ledger, self._permits, self._asked = ledger, permits, asked
        self._abandoned_s = settings.batches.abandoned_s

    def look(self) -> None:
        """Do what there is to do, for a few seconds at most; large placings take longer. Raises Unavailable."""
        for batch_id, state, idle_s in self._ledger.batches_coming():
            if state is BatchState.PLACING and idle_s > _PLACING_LEFT_S:
                log.info("going on with the placing of %s", batch_id)
                place(self._ledger, self._permits, batch_id)
            elif state is not BatchState.PLACING and self._ledger.drop_batch(batch_id, untouched_s=self._abandoned_s):
                log.info("removed the staging of %s, which was left", batch_id)
        end = time.monotonic() + _WORK_S
        while self._ledger.see_to_children() and time.monotonic() < end:
            pass
        for act_id in self._ledger.acts_open():
            work(self._ledger, self._permits, act_id, seconds=_WORK_S)
        if self._asked is not None:
            # last: it may find a store, or a worker, away that all the others do not need
            self._asked.look()
