"""The console: pages for people, below /console/. Server-rendered; sessions by cookie, which no other address takes."""

from api.console import (
    account,
    acts,
    batches,
    blueprint,
    compare,
    job,
    jobs,
    live,
    operator_acts,
    operators,
    sign_in,
    studio,
    submit,
    workers,
)
from api.console.errors import render_error
from api.dialect import Dialect

__all__ = [
    "DIALECT",
    "account",
    "acts",
    "batches",
    "compare",
    "job",
    "jobs",
    "live",
    "operator_acts",
    "operators",
    "sign_in",
    "studio",
    "submit",
    "workers",
]

DIALECT = Dialect(blueprint.console, ("/console",), render_error)
