"""The form for a new job: what it would cost and what is wrong with it are said before it is sent."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Response, jsonify, make_response, render_template, request, url_for
from pydantic_core import to_jsonable_python
from werkzeug.datastructures import MultiDict

from api.auth import tenant
from api.console.blueprint import console, to, who
from api.console.words import credits
from api.limits import count_submission
from api.own.resources import listed_models
from api.services import services
from api.streams import client_gone
from farm.jobs.draft import Draft, Source
from farm.jobs.errors import InvalidRequest, RequestError, Unavailable
from farm.jobs.money import MICRO
from farm.wire import own
from farm.wire.own import InvalidBody
from farm.wire.own_farm_views import ModelView
from farm.wire.own_views import JobView, view_estimate
from models.catalog import MODELS, ROLES

#: fields of the form that are numbers in the body
_NUMBERS = frozenset(
    {"width", "height", "frames", "duration_s", "fps", "steps", "guidance", "guidance_2", "shift", "seed", "priority"}
)
_TEXTS = frozenset({"prompt", "model", "negative_prompt", "resolution", "aspect_ratio", "name", "label", "tier"})
_WHOLE = frozenset({"width", "height", "frames", "fps", "steps", "seed", "priority"})
#: stands for a file that was chosen and not sent yet
_CHOSEN = Source(url="https://file.invalid/chosen")


@console.get("/submit")
def submit_form() -> Response:
    """An empty form, or one filled in from a job's page (`like`)."""
    return _form(request.args, {}, 200)


@console.post("/submit/check")
def check() -> Response:
    """{"estimate", "available", "held", "errors"} or {"errors": [{field, detail}]}, of a form whose files are named and
    not sent. held: what would be held of the credit; null where nobody pays or the price is not known."""
    try:
        draft = _draft(request.form)
        chosen = {role: _CHOSEN for role in request.form.getlist("chosen") if role in ROLES}
        here = services()
        job = here.submissions.quoted(tenant(), replace(draft, inputs=chosen))
        estimate = view_estimate(job, here.prices.exact(job.spec, job.dialect_data))
    except RequestError as error:
        return jsonify(errors=[{"field": field, "detail": detail} for field, detail in errors_of(error).items()])
    account = here.ledger.credit(tenant())
    wrong = None if account is None else unpaid(job.hold, account.available)
    return jsonify(
        estimate=to_jsonable_python(estimate),
        available=None if account is None else account.available / MICRO,
        held=None if account is None or job.hold is None else job.hold / MICRO,
        errors=[{"field": "", "detail": wrong}] if wrong else [],
    )


def unpaid(hold: int | None, available: int) -> str | None:
    """Why a studio with an account cannot pay for a job that holds so much; None: it can."""
    if hold is None:
        return "The price of this job is not known, so your credit cannot pay for it."
    if hold > available:
        return f"This job needs {credits(hold)} credits, and {credits(available)} are free."
    return None


@console.post("/submit")
def submit() -> Response:
    """Submit, and go to the job; or the same form again with what is wrong."""
    try:
        draft = _draft(request.form)
        files = {
            role: Source(data=given.read())
            for role in ROLES
            if (given := request.files.get(role)) is not None and given.filename
        }
        draft = replace(draft, inputs=files, idempotency_key=own.parse_idempotency_key(request.form.get("key") or None))
        count_submission()
        admitted = services().submissions.submit(tenant(), [draft], wait_inputs=True, gone=client_gone())[0]
    except RequestError as error:
        return _form(request.form, errors_of(error), error.http_status)
    if admitted.created:
        services().activity.note(tenant(), who(), "submitted", f"job {admitted.id}", 1)
    return to(url_for("console.show_job", job_id=admitted.id))


def like(view: JobView) -> dict[str, Any]:
    """The form filled in from a job, for another take: the same but for the seed and the inputs."""
    fields = (
        "prompt",
        "model",
        "negative_prompt",
        "width",
        "height",
        "frames",
        "fps",
        "steps",
        "guidance",
        "guidance_2",
    )
    found = {name: getattr(view, name) for name in (*fields, "shift", "label")}
    return {name: value for name, value in found.items() if value not in (None, "")}


def errors_of(error: RequestError) -> dict[str, str]:
    """Field of the form -> what is wrong with it; "" for what is wrong with the whole."""
    told = error.errors if isinstance(error, InvalidBody) else ((error.field or "", error.detail),)
    found: dict[str, str] = {}
    for field, detail in told:
        found.setdefault(field.partition(".")[0], detail)
    return found


def _draft(form: MultiDict[str, str]) -> Draft:
    """The form read as a body of the farm's own API, so that it is checked like one."""
    return own.parse_create(json.dumps(body_of(form)).encode())


def body_of(form: Mapping[str, str] | MultiDict[str, str]) -> dict[str, Any]:
    """The body of POST /v1/jobs that the form means. Raises InvalidRequest for a number that is none."""
    body: dict[str, Any] = {name: form[name] for name in _TEXTS if form.get(name)}
    # an empty prompt is said to be missing by the one who checks
    body.setdefault("prompt", "")
    for name in sorted(_NUMBERS):
        text = (form.get(name) or "").strip()
        if not text:
            continue
        try:
            body[name] = int(text) if name in _WHOLE else float(text)
        except ValueError:
            raise InvalidRequest("a whole number" if name in _WHOLE else "a number", name) from None
    if lora := form.get("lora"):
        scale = (form.get("lora_scale") or "1").strip()
        try:
            body["loras"] = [{"lora": lora, "scale": float(scale)}]
        except ValueError:
            raise InvalidRequest("a number", "lora_scale") from None
    return body


def _form(values: Mapping[str, str], errors: Mapping[str, str], status: int) -> Response:
    here = services()
    try:
        models = listed_models()
    except Unavailable:
        models = []
    page = render_template(
        "console/submit.html",
        values=values,
        errors=errors,
        models=[model for model in models if model.alias_of is None and not model.external and model.available],
        roles=roles_of(models),
        loras=here.loras.all(tenant()),
        key=f"console-{secrets.token_hex(12)}",
    )
    return make_response(page, status)


def roles_of(models: list[ModelView]) -> dict[str, dict[str, list[str]]]:
    """Model -> task -> the inputs that it reads, for the form's script."""
    return {
        model.id: {task: list(MODELS[model.id].roles(task)) for task in model.tasks}
        for model in models
        if model.id in MODELS
    }
