"""The rules of each dialect beside its codec: one entry for every dialect that differs from the farm's own. Pure.

Its spelling of job ids stands in farm.wire.task_ids, its model ids in farm.wire.model_ids.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from farm.jobs.draft import TOKEN_TAIL
from farm.wire import apixo, crun, kie, task_ids, wiro, wiro_task
from farm.wire.report import Report


@dataclass(frozen=True)
class CallbackKey:
    """A signature of the dialect's own on its callbacks, for tenants that have stored a key for it.

    secret     the name of the key in the tenant's vault
    sign       (key, task id, time in s) -> headers
    """

    secret: str
    sign: Callable[[str, str, int], Mapping[str, str]]


@dataclass(frozen=True)
class DialectRules:
    """The defaults are the farm's own rules.

    render_callback    a job that is over, as the body of its webhook; None: the farm's own event
    callback_key       see CallbackKey
    handle             (job id, the job's dialect_data) -> a second, secret id that reports carry
    in_dollars         costs are reported in US dollars, not in credits
    cancels_at_once    a job that is being cancelled is reported as cancelled: it can no longer succeed
    signs_requests     requests may be signed with a secret that belongs to their API key
    route              whether only the same weights will do -> the word of an order for whose servers render it
    """

    render_callback: Callable[[Report], Mapping[str, Any]] | None = None
    callback_key: CallbackKey | None = None
    handle: Callable[[str, Mapping[str, Any]], str] | None = None
    in_dollars: bool = False
    cancels_at_once: bool = False
    signs_requests: bool = False
    route: Callable[[bool], str] | None = None


_FARM = DialectRules()

RULES: dict[str, DialectRules] = {
    kie.DIALECT: DialectRules(kie.render_callback, callback_key=CallbackKey("kie", kie.sign)),
    apixo.DIALECT: DialectRules(apixo.render_callback, route=apixo.route_for),
    crun.DIALECT: DialectRules(crun.render_callback),
    wiro.DIALECT: DialectRules(
        wiro_task.render_callback,
        handle=lambda job_id, data: task_ids.token(job_id, str(data.get(TOKEN_TAIL, ""))),
        in_dollars=True,
        cancels_at_once=True,
        signs_requests=True,
    ),
}


def rules_of(dialect: str) -> DialectRules:
    """The rules of a dialect; the farm's own for one without an entry."""
    return RULES.get(dialect, _FARM)


def with_callback_keys() -> dict[str, CallbackKey]:
    """The dialects that sign their callbacks in a way of their own."""
    return {name: rules.callback_key for name, rules in RULES.items() if rules.callback_key is not None}


def signing() -> tuple[str, ...]:
    """The dialects whose requests may be signed."""
    return tuple(name for name, rules in RULES.items() if rules.signs_requests)
