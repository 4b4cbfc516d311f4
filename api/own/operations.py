"""What a view of the farm's own API takes and answers, in one place: it calls the view, and OpenAPI is made from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_origin

from flask import request
from pydantic import BaseModel, ValidationError

from api.problems import HttpRefusal
from farm.jobs.errors import InvalidRequest
from farm.jobs.roles import Role
from farm.wire import own
from farm.wire.own import InvalidBody

_View = TypeVar("_View", bound=Callable[..., Any])
_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True)
class Operation:
    """answers: status -> the model of the JSON, or the media type of what is no JSON. headers: request header -> what
    it does. keyless: no API key is asked for. bodiless: the body may be left out. media: types of a body that is
    no JSON. role: what the key must be; others get 403."""

    summary: str
    answers: Mapping[int, type[BaseModel] | str]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    keyless: bool = False
    media: tuple[str, ...] = ()
    bodiless: bool = False
    role: Role = Role.MEMBER


#: view -> what it says of itself
OPERATIONS: dict[Callable[..., Any], Operation] = {}


def operation(summary: str, answers: Mapping[int, type[BaseModel] | str], **more: Any) -> Callable[[_View], _View]:
    """Decorates a view with what OpenAPI says of it: `answers` are status -> body type or sentence."""

    def note(view: _View) -> _View:
        """Keeps it in OPERATIONS; the view stays as it is."""
        OPERATIONS[view] = Operation(summary, answers, **more)
        return view

    return note


def json_body() -> bytes:
    """The bytes of a JSON body. Raises HttpRefusal (415) for one that says it is something else."""
    kind = request.mimetype
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise HttpRefusal(415, "unsupported-media-type", f"send application/json, not {kind}")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise HttpRefusal(415, "unsupported-media-type", "send the body without Content-Encoding: unpacked")
    return request.get_data(cache=False)


def query(kind: type[_M]) -> _M:
    """The query string as a `kind`: lists by repeating a parameter. Raises InvalidBody naming what is wrong."""
    given: dict[str, Any] = {}
    for name, values in request.args.lists():
        known = kind.model_fields.get(name)
        if known is not None and get_origin(known.annotation) is list:
            given[name] = values
        elif len(values) > 1:
            raise InvalidRequest("given more than once; give it once", name)
        else:
            given[name] = values[0]
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        refusal = own.refusal(error, kind)
        if isinstance(refusal, InvalidBody):
            # the n-th of a repeated parameter is still that parameter
            raise InvalidBody(tuple((name.partition(".")[0], detail) for name, detail in refusal.errors)) from None
        raise refusal from None
