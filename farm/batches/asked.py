"""Batches that were asked for by a file: the io worker looks at it, and admits the batch or says what is wrong."""

import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from farm.batches.acts import new_act_id
from farm.batches.admission import BatchAdmission, Planned
from farm.batches.chains import Chains
from farm.batches.faults import BadManifest
from farm.batches.files import RequestsFiles
from farm.batches.request_file import RequestFile
from farm.config import Settings
from farm.jobs.batch import ActKind, AskedBatch
from farm.jobs.errors import RequestError
from farm.ledger import Ledger
from farm.submission.submit import Submissions

log = logging.getLogger(__name__)


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
        """Admit or refuse every batch that waits for it. Raises Unavailable: then they wait on."""
        for asked in self._ledger.asked(self._ledger.batches_asked()):
            if asked is not None:
                self._see_to(asked)

    def _see_to(self, asked: AskedBatch) -> None:
        if self._ledger.batch(asked.tenant, asked.id) is None:
            if self._clock() >= asked.expires_s:
                # nobody could look at it in all its window
                self._answer(asked, "expired")
                return
            try:
                self._admit(asked)
            except RequestError as error:
                log.info("%s is not admitted: %s", asked.id, error)
                self._answer(asked, "failed", _told(error))
                return
        if not self._answer(asked, "admitted"):
            # its owner cancelled it meanwhile
            self._ledger.begin_act(new_act_id(), asked.tenant, asked.id, ActKind.CANCEL)

    def _answer(self, asked: AskedBatch, answer: str, errors: tuple[Mapping[str, Any], ...] = ()) -> bool:
        return self._ledger.answer_batch(replace(asked, answer=answer, answered_s=int(self._clock()), errors=errors))

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


def _told(error: RequestError) -> tuple[Mapping[str, Any], ...]:
    if isinstance(error, BadManifest):
        return tuple(
            {"code": one.code, "line": one.line, "message": one.detail, "param": one.field} for one in error.faults
        )
    return ({"code": error.slug.replace("-", "_"), "line": None, "message": error.detail, "param": error.field},)
