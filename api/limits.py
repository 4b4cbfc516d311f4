"""The request rate of a tenant: counted where a job is submitted, and shown in the headers of the answer."""

import math

from flask import Flask, Response, g

from api.auth import principal, tenant
from api.services import services
from farm.jobs.errors import TooMany
from farm.ledger.outcomes import RateVerdict


def count_submission() -> None:
    """Raises TooMany when the tenant submits faster than it may. The answer's headers show the rate either way."""
    if not principal().paced:
        # known with the key: no question to Redis for most tenants
        return
    verdict = services().ledger.rate(tenant())
    g.rate = verdict
    if not verdict.allowed:
        raise TooMany(
            f"more than {verdict.limit} submissions at once; the rate recovers with time",
            retry_after_s=verdict.retry_after_s,
        )


def tell_rate(app: Flask) -> None:
    """Add the RateLimit headers to every answer that was counted."""
    app.after_request(_headers)


def _headers(response: Response) -> Response:
    verdict = g.get("rate")
    if isinstance(verdict, RateVerdict) and verdict.limit is not None:
        response.headers["RateLimit-Limit"] = str(verdict.limit)
        response.headers["RateLimit-Remaining"] = str(verdict.remaining)
        response.headers["RateLimit-Reset"] = str(math.ceil(verdict.reset_s))
    return response
