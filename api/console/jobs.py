"""The list of jobs, as rows or as a contact sheet."""

from typing import Any

from flask import Response, make_response, render_template, request

from api.auth import tenant
from api.console import filters
from api.console.blueprint import PART_HEADER, console
from api.console.chips import chip_of
from api.own.batches import batch_of, show
from api.services import services
from farm.jobs.errors import InvalidRequest
from farm.jobs.ids import is_job_id

#: jobs of one page; rows of a piece that a page's script asks for
ROWS, TILES, ROWS_OF_PIECE = 50, 120, 200
#: jobs that a page may ask for one by one
_MOST_IDS = 50


@console.get("/jobs")
def list_jobs() -> Response:
    """The caller's jobs; what the filter in the address says."""
    chosen = filters.JobFilter.of(request.args)
    head = _head(chosen)
    limit = TILES if chosen.tiles else ROWS_OF_PIECE if PART_HEADER in request.headers else ROWS
    found = filters.page(tenant(), chosen, cursor=request.args.get("cursor") or None, limit=limit)
    page = render_template(
        "console/jobs.html",
        page=found,
        **head,
        cursor=request.args.get("cursor"),
        status_of=chip_of,
    )
    return make_response(page)


@console.get("/jobs/head")
def jobs_head() -> str:
    """What stands above the list of a filter, as it is now."""
    return render_template("console/jobs_head.html", **_head(filters.JobFilter.of(request.args)))


def _head(chosen: filters.JobFilter) -> dict[str, Any]:
    batch = batch_of(chosen.batch) if chosen.batch else None
    return {
        "chosen": chosen,
        "counts": filters.counts(tenant(), chosen.label) if batch is None else filters.counts_of(batch),
        "batch": None if batch is None else show(batch),
        "states": filters.STATES,
        "reasons": filters.REASONS,
        "by_operator": bool(services().pauses.over(tenant(), batch.id if batch else None)),
    }


@console.get("/jobs/some")
def some_jobs() -> str:
    """Those of the given ids, as the list shows them: what came anew since a page was made."""
    ids = request.args.getlist("id")
    if len(ids) > _MOST_IDS or not all(map(is_job_id, ids)):
        raise InvalidRequest(f"at most {_MOST_IDS} ids of jobs", "id")
    mine = [job for job in services().ledger.find_many(ids) if job is not None and job.tenant == tenant()]
    tiles = request.args.get("view") == "tiles"
    return render_template("console/some_jobs.html", jobs=mine, tiles=tiles, status_of=chip_of)
