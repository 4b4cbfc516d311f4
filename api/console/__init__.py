"""The console: pages for people, below /console/. Server-rendered; sessions by cookie, which no other address takes."""

from api.console import account, acts, batches, blueprint, compare, job, jobs, live, operators, sign_in, studio, submit
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
    "operators",
    "sign_in",
    "studio",
    "submit",
]

DIALECT = Dialect(blueprint.console, ("/console",), render_error)
