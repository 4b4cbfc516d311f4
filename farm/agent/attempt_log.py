"""What an attempt says of itself in words: in the agent's log, and to the job's owner, on the job's page."""

import logging
import time
from collections.abc import Mapping

from farm.jobs.errors import Unavailable
from farm.jobs.job import Claim
from farm.ledger import Ledger
from farm.ledger.job_lines import JobLine

log = logging.getLogger(__name__)


class AttemptLog:
    """One attempt's. Nothing here names the machine or what else runs on it."""

    def __init__(self, claim: Claim, ledger: Ledger) -> None:
        self._job, self._attempt, self._ledger = claim.job.id, claim.attempt, ledger
        self._lines: list[JobLine] = []

    def say(self, text: str, *, bad: bool = False) -> None:
        """One line. `bad`: something went wrong."""
        log.log(logging.WARNING if bad else logging.INFO, "%s:%d: %s", self._job, self._attempt, text)
        self._lines.append(JobLine(int(time.time() * 1000), f"attempt {self._attempt}: {text}", bad))

    def rendered(self, gpu_s: float, timings: Mapping[str, float]) -> None:
        """How long the device worked, and on what."""
        stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in timings.items() if seconds >= 0.05)
        self.say(f"{gpu_s:.1f} s on the device" + (f": {stages}" if stages else ""))

    def keep(self) -> None:
        """Give the lines to the job. Asks Redis once: they are not worth waiting for."""
        lines, self._lines = self._lines, []
        try:
            self._ledger.keep_lines(self._job, self._attempt, lines)
        except Unavailable as error:
            log.warning("%s:%d: its log lines are not on its page: %s", self._job, self._attempt, error)
