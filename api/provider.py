"""What the provider dialects' blueprints share: submitting a draft, finding a job by the dialect's id, its report."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import BinaryIO

from flask import request

from api.auth import tenant
from api.limits import count_submission
from api.services import services
from api.streams import client_gone
from farm.jobs.draft import Draft, Source
from farm.jobs.errors import NotFound
from farm.jobs.job import Job
from farm.jobs.spec import InputRef
from farm.storage.object_keys import result_prefix
from farm.submission.provider_drafts import ANIMATE, completed, with_own_uploads
from farm.wire import own, task_ids
from farm.wire.job_report import report_of
from farm.wire.report import Report

IDEMPOTENCY_KEY = "Idempotency-Key"
#: bytes of an earlier job's file that a new one may be made from in the gateway
MAX_REUSED = 64 * 1024 * 1024
#: jobs that are read at a time, and ids
_PAGE, _SKIPPED = 200, 1000


def submit(draft: Draft) -> Job:
    """Admit one draft and wake a worker. Addresses are fetched later, by intake, unless the price depends on them."""
    count_submission()
    here, owner = services(), tenant()
    draft = keyed(prepared(draft))
    wait = draft.task in ANIMATE and here.ledger.credit(owner) is not None
    admitted = here.submissions.submit(owner, [draft], wait_inputs=wait, gone=client_gone())[0]
    job = here.ledger.get(owner, admitted.id)
    if job is None:
        raise NotFound("the job was removed")
    return job


def keyed(draft: Draft) -> Draft:
    """The draft with the idempotency key of the request at hand: a header that a client of any dialect may send."""
    key = own.parse_idempotency_key(request.headers.get(IDEMPOTENCY_KEY))
    names = {**draft.field_names, "idempotency_key": IDEMPOTENCY_KEY}
    return draft if key is None else replace(draft, idempotency_key=key, field_names=names)


def prepared(draft: Draft) -> Draft:
    """The draft as this farm can take it: uploads by their ids, a stand-in for a model on a machine without a GPU."""
    here = services()
    return completed(with_own_uploads(draft, here.settings.s3, tenant()), here.submissions.pools.offered())


def stored_source(ref: InputRef) -> Source:
    """An input of an earlier job, to be used again. Raises NotFound when it is gone, TooLarge."""
    if ref.key is None or services().store.stat(ref.key) is None:
        raise NotFound("an input of that job is gone; submit it again as a new one")
    return Source(data=services().store.get_bytes(ref.key, MAX_REUSED))


def job_of(dialect: str, task_id: str | None) -> Job:
    """The caller's job that came in this dialect. NotFound for one that is not there, not theirs, or no id at all."""
    job_id = task_ids.job_id(dialect, task_id or "")
    job = services().ledger.get(tenant(), job_id) if job_id else None
    if job is None or job.dialect != dialect:
        raise NotFound("Task not found")
    return job


def report(job: Job) -> Report:
    """The job as its dialect reports it, with fresh addresses of its files."""
    here = services()
    ttl_s = here.settings.s3.provider_url_ttl_s
    return report_of(
        job,
        lambda key: here.store.presign_get(key, ttl_s=ttl_s),
        credit_usd=here.settings.prices.credit_usd,
        credits_left_micro=None,
    )


def credits_left() -> int | None:
    """Free micro-credits of the caller; None when nothing is counted."""
    account = services().ledger.credit(tenant())
    return None if account is None else account.available


def with_data(draft: Draft, extra: Mapping[str, object]) -> Draft:
    """More to remember with the job."""
    return replace(draft, dialect_data={**draft.dialect_data, **extra})


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file, which stands at its beginning afterwards."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def erase(job: Job, *, unlist: bool = False) -> bool:
    """The owner wants a job's files gone, and with `unlist` the job from the lists; False while it is open."""
    here = services()
    if not here.ledger.erase(job.tenant, job.id, unlist=unlist):
        return False
    here.store.delete_prefix(result_prefix(job.tenant, job.id))
    return True


def listed(dialect: str, *, first: int, count: int, oldest_first: bool) -> list[Job]:
    """`count` jobs from the first-th on, of a dialect that pages by numbers. Records are read of these alone."""
    ledger, after = services().ledger, None
    while first > 0:
        skipped = ledger.ids(
            tenant(), dialect=dialect, after=after, limit=min(first, _SKIPPED), oldest_first=oldest_first
        )
        if not skipped:
            return []
        after, first = skipped[-1], first - len(skipped)
    page = ledger.page(tenant(), dialect=dialect, cursor=after, limit=count, oldest_first=oldest_first)
    return list(page.jobs)


def every(dialect: str, *, oldest_first: bool) -> Iterator[Job]:
    """All of the caller's jobs of a dialect, for a search that no index knows."""
    cursor = None
    while True:
        page = services().ledger.page(tenant(), dialect=dialect, cursor=cursor, limit=_PAGE, oldest_first=oldest_first)
        yield from page.jobs
        cursor = page.cursor
        if cursor is None:
            return
