"""Batches that were asked for by a file: the io worker looks at it, and admits the batch or says what is wrong.

The write that admits a batch takes it from those that wait for a look, too (lua/batch_flip.lua): an owner's cancel
comes before it, and then nothing is admitted, or after it, and is an act on its jobs."""

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from farm.batches.admission import BatchAdmission, Planned
from farm.batches.chains import Chains
from farm.batches.faults import BadManifest
from farm.batches.files import RequestsFiles
from farm.batches.request_file import RequestFile
from farm.config import Settings
from farm.jobs.batch import AskedBatch
from farm.jobs.errors import RequestError, Unavailable
from farm.ledger import Ledger
from farm.submission.submit import Submissions

log = logging.getLogger(__name__)

#: batches that one look sees to: each may take seconds
_AT_ONCE = 10
_BROKEN = {
    "code": "internal_error",
    "line": None,
    "message": "an error inside the farm, which is logged; ask its operator",
    "param": None,
}


class AskedBatches:
    """Any number may run at once: each batch is admitted once."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        submissions: Submissions,
        admission: BatchAdmission,
        files: RequestsFiles,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._ledger, self._submissions = settings, ledger, submissions
        self._admission, self._files, self._clock = admission, files, clock

    def look(self) -> None:
        """Admit or refuse some of the batches that wait for it. One of which nothing can be said now waits on: then the
        others have had their look, and Unavailable is raised."""
        away: Unavailable | None = None
        for asked in _in_turn(self._ledger.asked(self._ledger.batches_asked()))[:_AT_ONCE]:
            try:
                self._see_to(asked)
            except Unavailable as error:
                log.info("%s waits on: %s", asked.id, error)
                away = error
        if away is not None:
            raise away

    def _see_to(self, asked: AskedBatch) -> None:
        if self._clock() >= asked.expires_s:
            # nobody could look at it in all its window
            self._answer(asked, "expired")
            return
        try:
            self._admit(asked)
        except RequestError as error:
            log.info("%s is not admitted: %s", asked.id, error)
            self._answer(asked, "failed", _told(error))
        except Unavailable:
            raise
        except Exception:
            # the next look would meet it again, and so would all that wait behind it
            log.exception("%s cannot be looked at", asked.id)
            self._answer(asked, "failed", (_BROKEN,))

    def _answer(self, asked: AskedBatch, answer: str, errors: tuple[Mapping[str, Any], ...] = ()) -> None:
        """Once: not where it was cancelled, or admitted by another process, meanwhile."""
        self._ledger.answer_batch(replace(asked, answer=answer, answered_s=int(self._clock()), errors=errors))

    def _admit(self, asked: AskedBatch) -> None:
        file = self._files.get(asked.tenant, asked.input_file)
        with tempfile.TemporaryFile(prefix="wanfarm-batch-") as data:
            self._files.read(asked.tenant, file, data, self._settings.batches.max_body)
            data.seek(0)
            self._submissions.check_room(asked.tenant)
            requests = RequestFile(
                self._settings, self._submissions, asked.tenant, asked.endpoint, asked.expires_s * 1000
            )
            with closing(requests.read(data)) as plan:
                self._admission.admit(asked.tenant, Planned(plan.jobs, plan, Chains()), batch_id=asked.id)


def _in_turn(waiting: Iterable[AskedBatch | None]) -> list[AskedBatch]:
    """The first of each tenant, then the second of each, and so on: a tenant with many files delays its own."""
    turns = Counter[str]()
    placed = []
    for asked in waiting:
        if asked is not None:
            placed.append((turns[asked.tenant], asked))
            turns[asked.tenant] += 1
    return [asked for _, asked in sorted(placed, key=lambda one: one[0])]


def _told(error: RequestError) -> tuple[Mapping[str, Any], ...]:
    if isinstance(error, BadManifest):
        return tuple(
            {"code": one.code, "line": one.line, "message": one.detail, "param": one.field} for one in error.faults
        )
    return ({"code": error.slug.replace("-", "_"), "line": None, "message": error.detail, "param": error.field},)
