"""wiro's task objects, both directions: reports as Task/Detail, List, Kill, Cancel and callbacks carry them. Pure.

The status words and their order are here too; the WebSocket (wiro_socket) sends them one by one.
"""

from collections.abc import Mapping
from typing import Any

from farm.jobs.errors import FaultCode, NotFound
from farm.jobs.states import TERMINAL, Phase, State
from farm.wire import task_ids
from farm.wire.http import Unreadable
from farm.wire.report import Fault, Output, Report, credits_from
from farm.wire.wiro import DIALECT, NO_TASK, parse_error

#: the life of a task, in wiro's order; or task_cancel instead of the rest
ORDER = (
    "task_queue",
    "task_accept",
    "task_preprocess_start",
    "task_preprocess_end",
    "task_assign",
    "task_start",
    "task_output",
    "task_output_full",
    "task_end",
    "task_postprocess_start",
    "task_postprocess_end",
)
CANCELLED = "task_cancel"
OVER = ("task_postprocess_end", CANCELLED)
#: a running phase -> status; denoising is task_start until its first step is done
_PHASES = {
    Phase.ASSIGNED: "task_accept",
    Phase.LOADING: "task_preprocess_start",
    Phase.PREPROCESSING: "task_preprocess_end",
    Phase.DENOISING: "task_output",
    Phase.DECODING: "task_output_full",
    Phase.ENCODING: "task_end",
    Phase.UPLOADING: "task_postprocess_start",
    Phase.SUBMITTING: "task_accept",
    Phase.SUBMIT_UNKNOWN: "task_accept",
    Phase.PROVIDER_QUEUED: "task_assign",
    Phase.GENERATING: "task_output",
    Phase.DOWNLOADING: "task_postprocess_start",
}
_MEANINGS = {
    "task_accept": Phase.ASSIGNED,
    "task_preprocess_start": Phase.LOADING,
    "task_preprocess_end": Phase.PREPROCESSING,
    "task_assign": Phase.PROVIDER_QUEUED,
    "task_start": Phase.DENOISING,
    "task_output": Phase.DENOISING,
    "task_output_full": Phase.DECODING,
    "task_end": Phase.ENCODING,
    "task_postprocess_start": Phase.UPLOADING,
}
_KNOWN = frozenset({*ORDER, *OVER, "task_error"})


def status_word(report: Report) -> str:
    """The task's status. Jobs that wait for inputs count as queued: wiro's clients may cancel them there."""
    if report.state is State.CANCELLED:
        return CANCELLED
    if report.state in TERMINAL:
        return ORDER[-1]
    if report.state is not State.RUNNING:
        return ORDER[0]
    if report.phase is Phase.DENOISING and report.step == 0:
        return "task_start"
    return _PHASES.get(report.phase or Phase.ASSIGNED, "task_accept")


def status_state(status: str, pexit: str, *, outputs: bool = False) -> tuple[State, Phase | None]:
    """What a status means. The task has succeeded only when it says "0", or says nothing and has outputs."""
    if status == CANCELLED:
        return State.CANCELLED, None
    if status == "task_error":
        return State.FAILED, None
    if status == ORDER[-1]:
        return (State.SUCCEEDED if pexit == "0" or (pexit == "" and outputs) else State.FAILED), None
    if status == ORDER[0]:
        return State.QUEUED, None
    return State.RUNNING, _MEANINGS.get(status)


#: shown by Kill and Cancel, not by Detail
_EXTRA_KEYS = frozenset(
    {"name", "guestid", "projectid", "modelid", "description", "basemodelid", "runtype", "callbackurl", "categories"}
    | {"modelfolderid", "modelfileid", "marketplaceid"}
)
_EXTRA_OUTPUT_KEYS = frozenset(("foldercount", "filecount", "ispublic", "expiretime"))


def render_status(report: Report) -> dict[str, Any]:
    """The Task/Detail answer."""
    return render_tasks([_detail(report)])


def render_stopped(report: Report) -> dict[str, Any]:
    """The Task/Kill and Task/Cancel answers: the task with every key."""
    return {"errors": [], "tasklist": [_task(report)], "result": True}


def render_list(reports: list[Report], total: int | None = None) -> dict[str, Any]:
    """The answer to Task/List; `total` counts also those that are not on this page."""
    return render_tasks([_detail(report) for report in reports], total)


def render_tasks(tasks: list[dict[str, Any]], total: int | None = None) -> dict[str, Any]:
    """The object around task objects that were rendered before."""
    count = len(tasks) if total is None else total
    return {"total": str(count), "errors": [], "tasklist": tasks, "result": True}


def render_callback(report: Report) -> dict[str, Any]:
    """The Task/Detail answer with the task's own keys beside it: what wiro posts for model runs is undocumented, and
    this way a receiver finds the task wherever it looks."""
    task = _detail(report)
    flat = {key: task[key] for key in ("id", "socketaccesstoken", "status", "pexit", "outputs")}
    return render_tasks([task]) | flat | {"taskid": report.id, "tasktoken": report.handle}


def _detail(report: Report) -> dict[str, Any]:
    task = _without(_task(report), _EXTRA_KEYS)
    task["outputs"] = [_without(output, _EXTRA_OUTPUT_KEYS) for output in task["outputs"]]
    owner, _, project = report.model.partition("/")
    return task | {"modelslugowner": owner, "modelslugproject": project}


def _without(values: Mapping[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _task(report: Report) -> dict[str, Any]:
    succeeded = report.state is State.SUCCEEDED
    uuid = task_ids.job_id(DIALECT, report.id) or ""
    started, finished = report.started_ms, report.finished_ms
    elapsed_s = (finished - started) / 1000 if started and finished else 0.0
    cost = (report.credits_micro or 0) / 1e6 if succeeded else 0.0
    done_text = _seconds(finished) if succeeded else "0"
    started_text = _seconds(started)
    return {
        "id": report.id,
        "uuid": uuid,
        "name": "",
        "socketaccesstoken": report.handle,
        "parameters": report.request if isinstance(report.request, Mapping) else {},
        "debugoutput": "",
        "debugerror": f"{report.fault.code}: {report.fault.message}" if report.fault else "",
        "starttime": started_text,
        "endtime": _seconds(finished),
        "elapsedseconds": f"{max(elapsed_s, 0):.4f}",
        "status": status_word(report),
        "cps": f"{cost / elapsed_s if elapsed_s > 0 else 0:.12f}",
        "totalcost": f"{cost:.12f}" if cost else "0",
        "guestid": None,
        "projectid": "0",
        "modelid": "0",
        "description": "",
        "basemodelid": "0",
        "runtype": "model",
        "modelfolderid": "",
        "modelfileid": "",
        "callbackurl": str(report.request.get("callbackUrl") or "") if isinstance(report.request, Mapping) else "",
        "marketplaceid": None,
        "createtime": _seconds(report.created_ms),
        "canceltime": _seconds(finished) if report.state is State.CANCELLED else "0",
        "assigntime": started_text,
        "accepttime": started_text,
        "preprocessstarttime": started_text,
        "preprocessendtime": started_text,
        "postprocessstarttime": done_text,
        "postprocessendtime": done_text,
        "pexit": "" if report.state not in TERMINAL else "0" if succeeded else "1",
        "categories": '["tool","image-to-video"]',
        "outputs": [_output(output, uuid, _seconds(finished)) for output in report.outputs],
        "size": str(sum(output.size or 0 for output in report.outputs)),
    }


def _output(output: Output, uuid: str, added: str) -> dict[str, Any]:
    return {
        "id": output.id,
        "name": output.name,
        "contenttype": output.content_type,
        "parentid": uuid.replace("-", ""),
        "uuid": uuid,
        "size": str(output.size or 0),
        "addedtime": added,
        "modifiedtime": added,
        "accesskey": "",
        "foldercount": "0",
        "filecount": "0",
        "ispublic": 0,
        "expiretime": None,
        "url": output.url,
    }


def parse_status(body: Any) -> Report:
    """The first task of any answer that lists tasks, or of a callback. Raises what the envelope stands for."""
    fields = body if isinstance(body, Mapping) else {}
    tasks = fields.get("tasklist")
    if isinstance(tasks, list) and tasks and isinstance(tasks[0], Mapping):
        return _parse(tasks[0])
    if fields.get("status") and (fields.get("id") or fields.get("taskid")):
        return _parse(fields)
    raise parse_error(200, body) or (NotFound(NO_TASK) if tasks == [] else Unreadable("the answer carries no task"))


parse_callback = parse_status


def parse_list(body: Any) -> list[Report]:
    """Every task of an answer that lists tasks, which may be none. Raises what the envelope stands for."""
    fields = body if isinstance(body, Mapping) else {}
    tasks = fields.get("tasklist")
    if not isinstance(tasks, list) or fields.get("result") is False:
        raise parse_error(200, body) or Unreadable("the answer lists no tasks")
    return [_parse(task) for task in tasks if isinstance(task, Mapping) and (task.get("id") or task.get("taskid"))]


def _parse(task: Mapping[str, Any]) -> Report:
    given = task.get("outputs")
    outputs = tuple(_parse_output(o) for o in given if isinstance(o, Mapping)) if isinstance(given, list) else ()
    pexit = str(task["pexit"]) if task.get("pexit") is not None else ""
    told = str(task.get("status"))
    state, phase = status_state(told, pexit, outputs=bool(outputs))
    fault = None
    if state in (State.FAILED, State.CANCELLED):
        fault = _fault(str(task.get("debugerror") or ""), state)
    request = task.get("parameters")
    return Report(
        id=str(task.get("id") or task.get("taskid")),
        state=state,
        handle=str(task.get("socketaccesstoken") or task.get("tasktoken") or ""),
        phase=phase,
        step=0 if phase is not Phase.DENOISING or task.get("status") == "task_start" else 1,
        outputs=outputs,
        fault=fault,
        unknown_word="" if told in _KNOWN else told,
        request=request if isinstance(request, Mapping) else {},
        created_ms=_ms(task.get("createtime")),
        started_ms=_ms(task.get("starttime")),
        finished_ms=_ms(task.get("endtime")) or _ms(task.get("canceltime")),
        credits_micro=credits_from(task.get("totalcost")),
    )


def _fault(text: str, state: State) -> Fault | None:
    code, mark, message = text.partition(": ")
    if mark and code in FaultCode.__members__.values():
        return Fault(FaultCode(code), message)
    if state is State.CANCELLED:
        return Fault(FaultCode.CANCELLED, text) if text else None
    return Fault(FaultCode.PROVIDER_FAILED, text)


def _parse_output(output: Mapping[str, Any]) -> Output:
    size = str(output.get("size") or "")
    return Output(
        url=str(output.get("url") or ""),
        name=str(output.get("name") or ""),
        content_type=str(output.get("contenttype") or ""),
        size=int(size) if size.isascii() and size.isdecimal() and len(size) < 19 else None,
        id=str(output.get("id") or ""),
    )


def _seconds(ms: int | None) -> str:
    return "0" if ms is None else str(ms // 1000)


def _ms(value: Any) -> int | None:
    text = str(value)
    return int(text) * 1000 if text.isascii() and text.isdecimal() and len(text) < 15 and int(text) else None
