"""Files that go through the gateway: how many at once. Each has a thread for as long as its client takes."""

from collections.abc import Callable, Iterable, Iterator

from flask import Response, request

from api.server.marks import STREAM
from farm.jobs.errors import TooMany, Unauthorized, Unavailable
from farm.scheduling.places import TenantPlaces

_RETRY_S = 5.0


class Downloads:
    """Counts the files that this process sends, by tenant: `most` at once, and half of them for one tenant."""

    def __init__(self, most: int) -> None:
        self._places = TenantPlaces(most)

    @property
    def busy(self) -> int:
        """Files that are under way."""
        return self._places.taken

    def respond(self, owner: str, response: Response, blocks: Iterable[bytes], holds: Callable[[], bool]) -> None:
        """`response` gets the blocks, as long as its key `holds` (api.auth.key_holds). Raises TooMany when as many as
        there may be are under way."""
        if not self._places.take(owner):
            raise TooMany("too many files are being downloaded at the moment", retry_after_s=_RETRY_S)
        response.response = _while_it_holds(holds, blocks)
        response.call_on_close(lambda: self._places.give(owner))
        request.environ[STREAM] = True


def _while_it_holds(holds: Callable[[], bool], blocks: Iterable[bytes]) -> Iterator[bytes]:
    """A zip of a large batch takes hours. Raises Unauthorized: an end in good order would look like a whole file."""
    for block in blocks:
        if not _good(holds):
            raise Unauthorized("the key of this download was revoked")
        yield block


def _good(holds: Callable[[], bool]) -> bool:
    try:
        return holds()
    except Unavailable:
        # an outage says nothing of the key, and stops no download
        return True
