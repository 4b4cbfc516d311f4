"""/v1/batches/{id}/cancel and its kin: acts on many jobs of a batch."""

from collections.abc import Callable

from flask import Response

from api import openai_batches
from api.auth import tenant
from api.dialect import answer
from api.limits import count_submission
from api.own.batches import asked_of, batch_of, in_openais_form, shown
from api.own.blueprint import own_api
from api.own.operations import json_body, operation, query
from api.services import services
from farm.batches.acts import AT_ONCE_S, new_act_id, work
from farm.jobs.batch import ActKind, Choice
from farm.wire import own
from farm.wire.own_batches import ActOn, BatchView, BatchViewQuery, Prioritise
from farm.wire.own_views import ProblemView
from farm.wire.report import Reply

_ANSWERS: dict[int, type | str] = {
    200: BatchView,
    202: BatchView,
    404: ProblemView,
    409: ProblemView,
    422: ProblemView,
    429: ProblemView,
}
_WORDS = {
    ActKind.CANCEL: "Cancel a batch",
    ActKind.PAUSE: "Pause a batch",
    ActKind.RESUME: "Resume a batch",
    ActKind.APPROVE: "Let the jobs of a batch run that are held for approval",
    ActKind.RETRY: "Make failed jobs of a batch anew",
    ActKind.PRIORITY: "Change the priority of a batch",
}
_MORE = {
    ActKind.CANCEL: "Jobs that have not started end at once; running ones are stopped.",
    ActKind.PAUSE: "No more jobs of it start until it is resumed; running ones go on.",
    ActKind.RESUME: "It ends a pause.",
    ActKind.APPROVE: "The jobs may run that `hold_after` holds.",
    ActKind.RETRY: "A new job takes the place of each that failed, with the same request and seed.",
    ActKind.PRIORITY: "Of all jobs that are not over; of a running one for its retry.",
}


def _act(kind: ActKind) -> Callable[[str], Response]:
    model = Prioritise if kind is ActKind.PRIORITY else ActOn

    def view(batch_id: str) -> Response:
        asked_by_file, here = asked_of(batch_id), services()
        form, asked = query(BatchViewQuery).view, own.parse(model, json_body() or b"{}")
        choice = asked.choice(kind)
        whole = kind is ActKind.CANCEL and choice == Choice()
        if whole and asked_by_file is not None and openai_batches.is_cancelled(asked_by_file):
            return answer(Reply(200, shown(batch_id, form)))
        batch = batch_of(batch_id)
        priority = asked.priority if isinstance(asked, Prioritise) else None
        if kind is ActKind.RETRY:
            # it makes jobs, as a batch does
            count_submission()
        act_id = new_act_id()
        here.ledger.begin_act(act_id, tenant(), batch.id, kind, choice, priority=priority)
        over = work(here.ledger, here.permits, act_id, seconds=AT_ONCE_S)
        done = over or in_openais_form(asked_by_file, form)
        return answer(Reply(200 if done else 202, shown(batch_id, form)))

    view.__name__ = f"{kind}_batch"
    view.__doc__ = f"{_MORE[kind]} 202: it goes on, and `acts` of the batch says how far it is."
    return view


for _kind in ActKind:
    own_api.post(f"/v1/batches/<batch_id>/{_kind}")(
        operation(
            _WORDS[_kind],
            _ANSWERS,
            body=Prioritise if _kind is ActKind.PRIORITY else ActOn,
            query=BatchViewQuery,
            bodiless=_kind is not ActKind.PRIORITY,
        )(_act(_kind))
    )
