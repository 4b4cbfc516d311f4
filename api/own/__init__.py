"""The farm's own API, /v1: the full one. Its JSON is farm.wire.own and own_views."""

from api.dialect import Dialect
from api.own import (
    admin,
    batch_acts,
    batches,
    events,
    health,
    jobs,
    loras,
    metrics,
    openapi,
    purchases,
    resources,
    spend,
    tenant,
    usage,
    webhooks,
)
from api.own.blueprint import keyless, own_api
from api.problems import render_error

__all__ = [
    "DIALECT",
    "admin",
    "batch_acts",
    "batches",
    "events",
    "health",
    "jobs",
    "keyless",
    "loras",
    "metrics",
    "openapi",
    "purchases",
    "resources",
    "spend",
    "tenant",
    "usage",
    "webhooks",
]

DIALECT = Dialect(blueprint=own_api, paths=("/v1/",), render_error=render_error)
