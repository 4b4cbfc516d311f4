"""What was decided about each job, for whoever asks: kept in the ledger with its numbers, logged, and counted."""

import logging
import math
import re

from farm.burst.decision import QueuedJob, Ranked
from farm.ledger import Ledger
from monitoring.metrics import BURST_DECISIONS

log = logging.getLogger(__name__)

#: times and amounts alone are no news
_NUMBERS = re.compile(r"[\d.:]+")
#: jobs of which is remembered what was said last
_REMEMBERED = 100_000


class DecisionNotes:
    """Keeps each thing that is said of a job once, as long as nobody else says anything: see `forget`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._said: dict[str, str] = {}

    def forget(self) -> None:
        """Another process may have said something since."""
        self._said.clear()

    def say(
        self, waiting: QueuedJob, verdict: str, words: str, gain_s: float = 0.0, ranked: Ranked | None = None
    ) -> None:
        """`verdict`: as in farm.wire.own_explain.ExternalView. Raises Unavailable."""
        job, said = waiting.job, f"{verdict} {_NUMBERS.sub('', words)}"
        if self._said.get(job.id) == said:
            return
        if len(self._said) >= _REMEMBERED:
            self.forget()
        self._said[job.id] = said
        BURST_DECISIONS.labels(verdict).inc()
        log.info("%s %s: %s", job.id, verdict, words)
        numbers = {
            "start_s": _finite(waiting.start_s),
            "end_s": _finite(waiting.end_s),
            "waited_s": round(waiting.dwell_s, 1),
            "deadline_s": None if waiting.due_s is None else round(waiting.due_s, 1),
            "gain_s": _finite(gain_s),
        }
        if ranked is not None:
            numbers |= {
                "price_usd": ranked.offer.price_micro / 1e6,
                "effective_usd": ranked.effective / 1e6,
                "seconds_there": round(ranked.seconds, 1),
                "failure": round(ranked.seen.failure, 4),
            }
        more = {"provider": ranked.offer.provider, "explored": ranked.explored} if ranked else {}
        self._ledger.note_decision(job.id, {"verdict": verdict, "why": words, "numbers": numbers, **more})


def _finite(seconds: float) -> float | None:
    return round(seconds, 1) if math.isfinite(seconds) else None
