"""Labels as contact sheets."""

from flask import Response, make_response, render_template

from api.auth import tenant
from api.console.blueprint import console
from api.services import services

#: of the newest so many jobs the labels are offered
_LOOKED_AT = 500


@console.get("/batches")
def list_batches() -> Response:
    """Labels of the caller's newest jobs, the newest first."""
    jobs = services().ledger.page(tenant(), limit=_LOOKED_AT).jobs
    labels = list(dict.fromkeys(job.label for job in jobs if job.label is not None))
    return make_response(render_template("console/batches.html", labels=labels))
