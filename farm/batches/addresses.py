"""Addresses and uploads that a manifest names: refused at once where intake or the guard would refuse them later."""

from farm.guard.dial import Deadline
from farm.intake.intake import Intake
from farm.jobs.draft import Draft
from farm.jobs.errors import AddressUnreachable, RequestError

#: addresses that are remembered as looked at
_KEPT = 10_000
#: addresses of webhooks whose names are resolved; of the rest the form and a literal address are looked at
_RESOLVED = 8


class Addresses:
    """One per manifest. `seconds`: the name servers have so long in all."""

    def __init__(self, intake: Intake, tenant: str, seconds: float) -> None:
        self._intake, self._tenant, self._seconds = intake, tenant, seconds
        self._known: dict[tuple[str, bool], str | None] = {}
        self._deadline: Deadline | None = None
        self._resolved = 0

    def refusal(self, url: str, *, webhook: bool = False) -> str | None:
        """Why the guard would refuse it later; None where it would not. No name server is asked about a picture."""
        asked = (url, webhook)
        if asked in self._known:
            return self._known[asked]
        refused = self._looked(url, webhook)
        if len(self._known) < _KEPT:
            self._known[asked] = refused
        return refused

    def check(self, draft: Draft) -> None:
        """All that the draft names. Raises InvalidRequest."""
        for role, source in draft.inputs.items():
            if source.base64 is not None or source.data is not None:
                raise draft.refused(role, "a batch takes no pictures themselves: give an address, or an upload's id")
            if source.upload is not None and not self._intake.is_there(self._tenant, source.upload):
                raise draft.refused(role, "no such upload; PUT the file to an address of /v1/uploads first")
            if source.url is not None and (refused := self.refusal(source.url)):
                raise draft.refused(role, refused)
        if draft.webhook_url is not None and (refused := self.refusal(draft.webhook_url, webhook=True)):
            raise draft.refused("webhook_url", refused)

    def _looked(self, url: str, webhook: bool) -> str | None:
        if self._deadline is None and webhook:
            self._deadline = Deadline(self._seconds)
        left_s = 0.0 if self._deadline is None else max(0.0, self._deadline.left_s)
        resolve = webhook and self._resolved < _RESOLVED and left_s > 0
        self._resolved += resolve
        try:
            self._intake.guard.vet(url, webhook=webhook, resolve=resolve, seconds=left_s)
        except AddressUnreachable:
            # a receiver that is not there yet is tried again when there is something to tell it
            return None
        except RequestError as error:
            return error.detail
        return None
