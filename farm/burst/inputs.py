"""A job's inputs as a provider gets them: an address of the farm's own store, or, where that cannot be dialled from
outside, a file handed over by the dialect's own upload."""

import logging
import mimetypes
from collections.abc import Mapping
from urllib.parse import urlsplit

from farm.burst.context import BurstContext
from farm.guard.addresses import is_public, unwrapped
from farm.jobs.errors import FarmError
from farm.jobs.spec import InputRef, JobSpec
from farm.providers.carrier import NoAnswer, NotSent, carry
from farm.providers.entry import Entry
from farm.wire.http import Can, File, Outbound, ProviderRefused, Unreadable

log = logging.getLogger(__name__)

#: bytes of one input that are handed over in a request
MOST_HANDED_OVER = 50 << 20


class CannotHandOver(FarmError):
    """An input that the provider cannot get; the text says why."""


def addresses_of(spec: JobSpec, entry: Entry, client: Outbound, context: BurstContext) -> dict[str, str]:
    """Role -> where the provider fetches it. Costs no money. Raises CannotHandOver, Unavailable."""
    return {role: _address(role, ref, entry, client, context) for role, ref in spec.inputs.items()}


def _address(role: str, ref: InputRef, entry: Entry, client: Outbound, context: BurstContext) -> str:
    if ref.key is None:
        raise CannotHandOver(f"its {role} is not stored")
    url = context.store.presign_get(ref.key, ttl_s=context.settings.s3.provider_url_ttl_s)
    if not is_private(url) or is_private(entry.base_url):
        return url
    if Can.UPLOAD not in client.can:
        raise CannotHandOver(f"its {role} lies where {entry.name} cannot fetch it (s3.public_endpoint)")
    data = context.store.get_bytes(ref.key, MOST_HANDED_OVER)
    kind = ref.content_type or "application/octet-stream"
    name = f"{role}{mimetypes.guess_extension(kind) or ''}"
    try:
        return client.uploaded(carry(client.upload(File(name, kind, data)), entry.timeout_s))
    except (NotSent, NoAnswer, Unreadable, ProviderRefused) as error:
        log.warning("%s takes no %s: %s", entry.name, role, error)
        raise CannotHandOver(f"its {role} could not be handed to {entry.name}") from error


def is_private(url: str) -> bool:
    """Whether the address is this machine's or a private network's, as far as its form tells."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or ("." not in host and ":" not in host):
        return True
    try:
        return not is_public(unwrapped(host))
    except ValueError:
        return False


def callback_of(job_id: str, nonce: str, entry: Entry, public_url: str | None) -> str | None:
    """Where the provider may tell that there is news; nobody can guess it. None where it cannot be reached."""
    if not entry.callbacks or public_url is None:
        return None
    if is_private(public_url) and not is_private(entry.base_url):
        return None
    return f"{public_url.rstrip('/')}/v1/purchases/{job_id}/{nonce}"


def details_of(inputs: Mapping[str, str], callback: str | None) -> dict[str, object]:
    """What the same order is written from again."""
    return {"inputs": dict(inputs)} | ({"callback": callback} if callback else {})
