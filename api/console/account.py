"""A tenant's credit and bookings, and what its people did."""

import re

from flask import Response, make_response, render_template, request

from api.auth import tenant
from api.console.blueprint import console
from api.services import services
from farm.jobs.batch import is_batch_id
from farm.jobs.errors import InvalidRequest

_LINES = 100
_PLACE = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


@console.get("/usage")
def usage() -> Response:
    """Credit, and the bookings before `before`, the newest first."""
    ledger, owner = services().ledger, tenant()
    lines = ledger.newest_bookings(owner, before=place("before"), count=_LINES)
    return make_response(
        render_template(
            "console/usage.html",
            account=ledger.credit(owner),
            lines=lines,
            is_batch_id=is_batch_id,
            more=lines[-1].id if len(lines) == _LINES else None,
        )
    )


@console.get("/activity")
def activity() -> Response:
    """What was done in the console, newest first."""
    lines = services().activity.newest(tenant(), before=place("before"), limit=_LINES)
    more = lines[-1].id if len(lines) == _LINES else None
    return make_response(render_template("console/activity.html", lines=lines, more=more))


def place(name: str) -> str | None:
    """A place in a log, from the address. Raises InvalidRequest."""
    given = request.args.get(name) or None
    if given is not None and not _PLACE.fullmatch(given):
        raise InvalidRequest("not a place in this log", name)
    return given
