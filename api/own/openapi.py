"""/v1/openapi.json: made from the views themselves and the types that they speak."""

import inspect
import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

from flask import Flask, Response, current_app
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api.dialect import answer, dump
from api.own.blueprint import keyless
from api.own.operations import OPERATIONS, Operation, operation
from api.problems import PROBLEM_JSON
from api.streams import EVENT_ID
from farm.jobs.batch import BATCH_ID
from farm.jobs.ids import JOB_ID
from farm.jobs.roles import Role
from farm.loras.lora import NAME
from farm.wire.own import IDEMPOTENCY_KEY
from farm.wire.own_views import ProblemView
from farm.wire.report import Reply

_ABOUT = (
    "One queue in front of a studio's own GPUs and of everyone else's. Errors are RFC 9457 problems whose `type` is "
    "stable; 429 and 503 carry Retry-After. Times are ISO 8601 in UTC."
)
_PHRASES = {200: "Done", 201: "Created", 202: "Under way", 204: "Nothing more", 503: "Not now"}
_MADE = "wanfarm-openapi"
#: the forms of parameters and headers, as they are enforced
_FORMS: dict[str, str] = {
    "job_id": JOB_ID,
    "batch_id": BATCH_ID,
    "lora": NAME,
    "Idempotency-Key": IDEMPOTENCY_KEY,
    "Last-Event-ID": EVENT_ID,
}
_METHODS = ("GET", "POST", "PUT", "DELETE")


@keyless.get("/v1/openapi.json")
@operation("This document", {200: "application/json"}, keyless=True)
def openapi() -> Response:
    """The OpenAPI document."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    # anybody may ask: it is made once
    made = app.extensions.get(_MADE)
    if made is None:
        made = app.extensions[_MADE] = dump(document(app))
    return answer(Reply(200, made))


def document(app: Flask) -> dict[str, Any]:
    """OpenAPI 3.1 of every view that is an `operation`."""
    used = list(_operations(app))
    schemas, components = _schemas([op for _, _, _, op in used])
    paths: dict[str, dict[str, Any]] = {}
    for path, method, view, op in used:
        paths.setdefault(path, {})[method] = _operation(path, method, view, op, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Wanfarm", "version": version("wanfarm"), "description": _ABOUT, "license": _LICENSE},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"header": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}


def _operations(app: Flask) -> Iterator[tuple[str, str, Callable[..., Any], Operation]]:
    """(path, method, view, what it says of itself)."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if op := OPERATIONS.get(view):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            for method in _METHODS:
                if method in (rule.methods or ()):
                    yield path, method.lower(), view, op


_Schemas = dict[tuple[Any, JsonSchemaMode], dict[str, Any]]


def _schemas(operations: list[Operation]) -> tuple[_Schemas, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ProblemView, "serialization"): None}
    for op in operations:
        if op.body is not None:
            wanted[op.body, "validation"] = None
        for kind in op.answers.values():
            if isinstance(kind, type):
                wanted[kind, "serialization"] = None
    found, definitions = models_json_schema(list(wanted), ref_template="#/components/schemas/{model}")
    return found, definitions["$defs"]


def _operation(path: str, method: str, view: Callable[..., Any], op: Operation, schemas: _Schemas) -> dict[str, Any]:
    answers = {str(status): _answer(status, kind, schemas) for status, kind in sorted(op.answers.items())}
    problem = {"schema": schemas[ProblemView, "serialization"]}
    answers["default"] = {"description": "A problem", "content": {PROBLEM_JSON: problem}}
    made: dict[str, Any] = {
        "operationId": view.__name__ if method != "delete" else f"{view.__name__}_by_delete",
        "summary": op.summary,
        "parameters": _parameters(path, op),
        "responses": answers,
    }
    text = inspect.getdoc(view) or ""
    if op.role is not Role.MEMBER:
        made["x-role"] = op.role
        text = f"{text}\n\nFor a key with the role {' or '.join(role for role in Role if role.covers(op.role))}."
        answers.setdefault("403", _answer(403, ProblemView, schemas))
    if text:
        made["description"] = text
    content: dict[str, Any] = {media: {"schema": {"type": "string"}} for media in op.media}
    if op.body is not None:
        content["application/json"] = {"schema": schemas[op.body, "validation"]}
    if content:
        made["requestBody"] = {"required": not op.bodiless, "content": content}
    if op.keyless:
        made["security"] = []
    return made


def _answer(status: int, kind: type[BaseModel] | str, schemas: _Schemas) -> dict[str, Any]:
    made: dict[str, Any] = {"description": _PHRASES.get(status, "A problem")}
    if isinstance(kind, str):
        if kind:
            made["content"] = {kind: {"schema": {} if kind == "application/json" else {"type": "string"}}}
    else:
        media = PROBLEM_JSON if kind is ProblemView else "application/json"
        made["content"] = {media: {"schema": schemas[kind, "serialization"]}}
    return made


def _parameters(path: str, op: Operation) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _form(name)} for name in re.findall(r"{(\w+)}", path)
    ]
    for name, text in op.headers.items():
        made.append({"name": name, "in": "header", "description": text, "schema": _form(name)})
    if op.query is not None:
        schema = op.query.model_json_schema()
        definitions = schema.get("$defs", {})
        for name, one in schema["properties"].items():
            made.append({"name": name, "in": "query", "schema": _inlined(one, definitions)})
    return made


def _form(name: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{_FORMS[name]}$"} if name in _FORMS else {"type": "string"}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Query schemas are small: what they refer to is written out."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if ref := schema.get("$ref"):
        return _inlined(definitions[ref.rpartition("/")[2]], definitions)
    return {name: _inlined(one, definitions) for name, one in schema.items()}
