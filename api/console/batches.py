"""Batches and labels, each as a contact sheet (api.console.jobs shows it)."""

from flask import Response, make_response, render_template, request

from api.auth import tenant
from api.console import filters
from api.console.blueprint import console
from api.own.batches import show
from api.services import services
from farm.jobs.batch import is_batch_id
from farm.jobs.errors import InvalidRequest

#: batches of a page; of the newest so many jobs the labels are offered
_BATCHES, _LOOKED_AT = 30, 300


@console.get("/batches")
def list_batches() -> Response:
    """The caller's batches, and labels of their newest jobs, the newest first."""
    cursor, ledger = request.args.get("cursor") or None, services().ledger
    if cursor is not None and not is_batch_id(cursor):
        raise InvalidRequest("not the cursor of any page", "cursor")
    ids = ledger.batch_ids(tenant(), after=cursor, limit=_BATCHES + 1)
    found = zip(ledger.batches(tenant(), ids[:_BATCHES]), ledger.acts(ids[:_BATCHES]), strict=True)
    jobs = ledger.page(tenant(), limit=_LOOKED_AT).jobs
    page = render_template(
        "console/batches.html",
        batches=[show(batch, acts) for batch, acts in found if batch is not None],
        reasons=filters.REASONS,
        looked_at=_LOOKED_AT,
        labels=list(dict.fromkeys(job.label for job in jobs if job.label is not None)),
        cursor=ids[_BATCHES - 1] if len(ids) > _BATCHES else None,
    )
    return make_response(page)
