"""/v1/purchases/...: where providers tell that a bought job has news. The address is known to its provider alone."""

from collections.abc import Mapping

from flask import Response, request

from api.dialect import answer
from api.own.blueprint import keyless
from api.own.operations import operation
from api.services import services
from farm.jobs.errors import NotFound
from farm.jobs.purchase import Purchase
from farm.wire.http import NotOffered, ProviderRefused, Unreadable
from farm.wire.outbound import CLIENTS
from farm.wire.own_views import ProblemView, View
from farm.wire.report import Reply

#: characters of an id that a provider may have
_ID_CHARS = 200
#: of a callback that is read: whoever guesses no address may still send anything
_BODY_BYTES = 256 * 1024


class Heard(View):
    """It was noted. What is true is asked of the provider."""

    heard: bool = True


@keyless.post("/v1/purchases/<job_id>/<nonce>")
@operation("A provider's callback", {200: Heard, 404: ProblemView}, keyless=True)
def purchase_told(job_id: str, nonce: str) -> Response:
    """Decides nothing: whoever follows the job looks at it."""
    ledger = services().ledger
    purchase = ledger.purchase(nonce)
    if purchase is None or not ledger.purchase_told(job_id, nonce, _named(purchase)):
        raise NotFound("there is no such purchase")
    return answer(Reply(200, Heard()))


def _named(purchase: Purchase) -> str | None:
    """What the callback calls the job; None where it does not say so readably."""
    client = CLIENTS.get(str(purchase.intent.get("dialect")))
    large = request.content_length is None or request.content_length > _BODY_BYTES
    body = None if large else request.get_json(silent=True)
    if client is None or not isinstance(body, Mapping):
        return None
    try:
        told = client("", "").callback(body).id
    except (NotOffered, ProviderRefused, Unreadable):
        return None
    return told if 0 < len(told) <= _ID_CHARS and told.isprintable() else None
