"""The frames of wiro's WebSocket, both directions. Pure: frames for a report that changed, and the meaning of a
frame."""

import json
from collections.abc import Mapping
from typing import Any

from farm.jobs.states import TERMINAL, Phase, State
from farm.wire import wiro_task
from farm.wire.report import Report

#: registration: {"type": "task_info", "tasktoken": "<socketaccesstoken>"}
REGISTER = "task_info"


def parse_registration(text: str | bytes) -> str | None:
    """The token of a registration frame, None for anything else."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return None
    token = frame.get("tasktoken") if isinstance(frame, dict) and frame.get("type") == REGISTER else None
    return token if isinstance(token, str) else None


def render_registration(token: str) -> str:
    """The client's first message on the socket."""
    return json.dumps({"type": REGISTER, "tasktoken": token})


def frame(kind: str, report: Report, message: Any = None) -> dict[str, Any]:
    """One message about a task to the client."""
    return {"type": kind, "id": report.id, "tasktoken": report.handle, "message": message, "result": True}


def frames(report: Report, said: str | None) -> list[dict[str, Any]]:
    """What to send for a report after the status `said` was sent last: every status passed on the way in wiro's order,
    then step progress. Nothing goes back: a retried task says no status twice."""
    status = wiro_task.status_word(report)
    if status == wiro_task.CANCELLED:
        return [frame(status, report)]
    reached, before = wiro_task.ORDER.index(status), -1 if said is None else wiro_task.ORDER.index(said)
    if said is None and report.state in TERMINAL:
        # registered after the end: the terminal event alone is replayed
        before = reached - 1
    passed = wiro_task.ORDER[before + 1 : reached + 1]
    sent = [_lifecycle(kind, report) for kind in passed]
    if status == "task_output" and reached == before:
        sent.append(_lifecycle(status, report))
    return sent


def _lifecycle(kind: str, report: Report) -> dict[str, Any]:
    if kind == "task_output":
        return frame(kind, report, progress(report))
    if kind == "task_output_full":
        return frame(kind, report, {"raw": ""})
    if kind == wiro_task.ORDER[-1]:
        task = wiro_task.render_status(report)["tasklist"][0]
        return frame(kind, report, task["outputs"])
    return frame(kind, report)


def progress(report: Report) -> dict[str, str]:
    """The step progress of task_output; every value is text."""
    share = report.step / report.steps if report.steps else (report.progress or 0.0)
    return {
        "type": "progressGenerate",
        "task": "Generate",
        "percentage": str(round(share * 100)),
        "stepCurrent": str(report.step),
        "stepTotal": str(report.steps),
        "speed": "",
        "speedType": "it/s",
        "elapsedTime": "",
        "remainingTime": "",
    }


def parse_frame(text: str | bytes) -> Report | None:
    """The state, phase and steps of a frame, as far as it has them. None for frames that are not about a task."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, Mapping) or not isinstance(given.get("type"), str):
        return None
    kind, message = given["type"], given.get("message")
    # task_error is a line of the error log here, not an end
    if kind not in wiro_task.ORDER and kind != wiro_task.CANCELLED:
        return None
    outputs = message if isinstance(message, list) else []
    state, phase = wiro_task.status_state(kind, "", outputs=bool(outputs))
    step = steps = 0
    if phase is Phase.DENOISING and isinstance(message, Mapping):
        step, steps = (_count(message.get(key)) for key in ("stepCurrent", "stepTotal"))
    parsed = wiro_task.parse_status({"tasklist": [{"id": "", "status": kind, "outputs": outputs}]}) if outputs else None
    return Report(
        id=str(given.get("id") or ""),
        handle=str(given.get("tasktoken") or ""),
        state=state,
        phase=phase,
        step=step,
        steps=steps,
        progress=step / steps if steps else None,
        outputs=parsed.outputs if parsed and state is State.SUCCEEDED else (),
    )


def _count(value: Any) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0
