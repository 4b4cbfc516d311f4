"""The object store: everything that the farm and its clients do with it, done once."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial

import urllib3
from minio.error import InvalidResponseError, MinioException, S3Error

from farm.config import S3Settings
from farm.doctor.finding import Finding, error, ok, warning
from farm.doctor.s3_probe import BODY, S3Probe, cleaned
from farm.jobs.errors import FarmError
from farm.storage.store import PART_SIZE

#: signatures of requests are refused when the clocks differ by 15 minutes; s
_SKEW_S, _TOO_SKEWED_S = 5.0, 300.0
_LONG_AGO_S = 3600.0
_RANGE = (100, 299)
#: a page of a listing is shorter than what the farm lists
_LISTED = 5
_REFUSED = frozenset({400, 401, 403})


def examine(settings: S3Settings, origins: tuple[str, ...] = ()) -> Iterator[Finding]:
    """Every check of the store; only the first when it does not take our keys. `origins`: gateway.cors_origins."""
    probe = S3Probe(settings)
    reached = reachable(probe)
    yield reached
    if reached.todo is not None:
        return
    with cleaned(probe):
        checks: list[Callable[[S3Probe], Finding]] = [
            missing, objects, multipart, listing, presigned_get, ranges, expiry, private,
            presigned_put, upload_size, upload_expiry, clock,
        ]  # fmt: skip
        checks += [partial(browsers, origin=origin) for origin in origins[:1]]
        for check in checks:
            yield _tried(check, probe)
    yield keys(settings)


def reachable(probe: S3Probe) -> Finding:
    """It answers, takes our keys, and the bucket is there or can be made."""
    where = f"{probe.settings.endpoint}, bucket {probe.bucket}"
    try:
        if not probe.sdk.bucket_exists(probe.bucket):
            probe.sdk.make_bucket(probe.bucket)
            return ok("s3.reach", f"{where}: made")
    except S3Error:
        # the answer to a HEAD has no body that could say why
        code = _refusal(probe)
        return error("s3.reach", f"{where}: {code}", _REFUSALS.get(code, _OTHER))
    except InvalidResponseError as odd:
        return error("s3.reach", f"{where}: it does not speak S3 ({odd})", "correct s3.endpoint and s3.secure")
    except (MinioException, urllib3.exceptions.HTTPError) as away:
        todo = "start the server there, or correct s3.endpoint and s3.secure; look at firewalls in between"
        return error("s3.reach", f"{where} does not answer ({reason(away)})", todo)
    return ok("s3.reach", f"{where} answers")


def _refusal(probe: S3Probe) -> str:
    """The code with which the server refuses a listing, as some put it into text that the SDK does not read."""
    try:
        next(iter(probe.sdk.list_objects(probe.bucket)), None)
    except S3Error as refused:
        return str(refused.code)
    except InvalidResponseError as odd:
        told = re.search(r"<Code>(\w+)</Code>", str(odd))
        return told[1] if told else str(odd)
    return "AccessDenied"


def reason(away: Exception) -> str:
    """What the network said, without the names of the libraries that were in between."""
    inner = getattr(away, "reason", None) or away
    return str(inner).rpartition(": ")[2] or type(inner).__name__


_OTHER = "look at the server's log; s3.access_key, s3.secret_key, s3.bucket and s3.region must be its own"
_REFUSALS = {
    "InvalidAccessKeyId": "correct s3.access_key",
    "SignatureDoesNotMatch": "correct s3.secret_key and s3.region; a proxy in front must pass the Host header on",
    "RequestTimeTooSkewed": "set this machine's clock: run an NTP service here and there",
    "AccessDenied": "allow this key the bucket: GetObject, PutObject, DeleteObject, ListBucket, AbortMultipartUpload",
}


def missing(probe: S3Probe) -> Finding:
    """What is not there is a 404: otherwise a missing object looks like a server that is away."""
    try:
        probe.sdk.stat_object(probe.bucket, probe.key("never-written"))
    except S3Error as answer:
        if answer.code in ("NoSuchKey", "NoSuchObject"):
            return ok("s3.missing", "a missing object is a 404")
        todo = "grant the key ListBucket on the bucket: without it S3 answers 403 for what is not there"
        return error("s3.missing", f"a missing object is answered with {answer.code}", todo)
    return error("s3.missing", "a missing object is answered as if it were there", "use another S3 server")


def objects(probe: S3Probe) -> Finding:
    """A small object, written and read back."""
    probe.store.put_bytes(probe.key("small"), BODY, "application/octet-stream")
    if probe.store.get_bytes(probe.key("small"), len(BODY)) != BODY:
        return error("s3.objects", "an object came back changed", "use another S3 server")
    return ok("s3.objects", "written and read back")


def multipart(probe: S3Probe) -> Finding:
    """An object of more than one part, as every clip of some length is."""
    parts = PART_SIZE + len(BODY)
    # whole blocks, so that the end of the object shows whether the parts are in order
    data = BODY * (parts // len(BODY))
    probe.store.put_bytes(probe.key("large"), data, "video/mp4")
    tail = b"".join(probe.store.blocks(probe.key("large"), len(data) - len(BODY), len(BODY)))
    if tail != BODY:
        return error("s3.multipart", "an upload in parts came back changed", "use another S3 server")
    return ok("s3.multipart", f"{len(data) / 1e6:.0f} MB in 2 parts")


def listing(probe: S3Probe) -> Finding:
    """In the order of the keys, from behind one of them: garbage is found by it."""
    names = [probe.key(f"list/{number}") for number in range(_LISTED)]
    for name in names:
        probe.store.put_bytes(name, b"x", "text/plain")
    found = [one.key for one in probe.store.list(probe.key("list/"), after=names[1])]
    if found != names[2:]:
        text = f"behind {names[1]} it lists {found or 'nothing'}, not {names[2:]}"
        return error("s3.listing", text, "use a server that has ListObjectsV2 with start-after")
    probe.store.delete(*names, probe.key("never-written"))
    return ok("s3.listing", "in order, from behind a key; deleting what is gone is no error")


def presigned_get(probe: S3Probe) -> Finding:
    """The address of a result, as a client opens it."""
    answer = probe.ask("GET", probe.get_address(probe.key("small")))
    if answer.status != 200 or answer.data != BODY:
        text = f"a signed address is answered with {answer.status}"
        return error(
            "s3.presigned-get", text, "use a server with SigV4 presigned URLs; a proxy must keep the Host header"
        )
    return ok("s3.presigned-get", "a signed address gives the object")


def ranges(probe: S3Probe) -> Finding:
    """Players seek in a clip by it."""
    first, last = _RANGE
    answer = probe.ask("GET", probe.get_address(probe.key("small")), headers={"Range": f"bytes={first}-{last}"})
    if answer.status != 206 or answer.data != BODY[first : last + 1]:
        todo = "use a server that serves ranges: players cannot seek, and the gateway's downloads would be wrong"
        return error("s3.ranges", f"a range is answered with {answer.status} and {len(answer.data)} bytes", todo)
    return ok("s3.ranges", "a range is answered with 206")


def expiry(probe: S3Probe) -> Finding:
    """An address that was handed out opens nothing for ever."""
    answer = probe.ask("GET", probe.get_address(probe.key("small"), signed_ago_s=_LONG_AGO_S))
    if answer.status not in _REFUSED:
        text = f"an address that expired is answered with {answer.status}"
        return error("s3.expiry", text, "use a server that checks X-Amz-Expires: results stay open for ever")
    return ok("s3.expiry", f"an address that expired is refused ({answer.status})")


def private(probe: S3Probe) -> Finding:
    """Nobody reads a tenant's clip without a signature."""
    answer = probe.ask("GET", probe.get_address(probe.key("small")).partition("?")[0])
    if answer.status not in _REFUSED | {404}:
        text = f"without a signature an object is answered with {answer.status}"
        return error("s3.private", text, "make the bucket private: everybody reads every tenant's clips")
    return ok("s3.private", "without a signature nothing is read")


def presigned_put(probe: S3Probe) -> Finding:
    """An upload, as a client sends it."""
    key = probe.key("uploaded")
    answer = probe.ask("PUT", probe.put_address(key, len(BODY)), body=BODY)
    if answer.status not in (200, 201, 204) or probe.store.get_bytes(key, len(BODY)) != BODY:
        text = f"a signed upload is answered with {answer.status}"
        return error(
            "s3.presigned-put", text, "use a server with presigned PUT that takes content-length as a signed header"
        )
    return ok("s3.presigned-put", "a signed upload is kept")


def upload_size(probe: S3Probe) -> Finding:
    """The size that was agreed is part of the signature."""
    answer = probe.ask("PUT", probe.put_address(probe.key("longer"), len(BODY)), body=BODY + b"more")
    if answer.status not in _REFUSED:
        text = f"an upload longer than its signature says is answered with {answer.status}"
        return error("s3.upload-size", text, "use a server that checks signed headers: uploads have no bound")
    return ok("s3.upload-size", f"an upload of another size is refused ({answer.status})")


def upload_expiry(probe: S3Probe) -> Finding:
    """An address for an upload ends, too."""
    late = probe.put_address(probe.key("late"), len(BODY), signed_ago_s=_LONG_AGO_S)
    answer = probe.ask("PUT", late, body=BODY)
    if answer.status not in _REFUSED:
        text = f"an upload to an address that expired is answered with {answer.status}"
        return error("s3.upload-expiry", text, "use a server that checks X-Amz-Expires")
    return ok("s3.upload-expiry", f"an upload to an address that expired is refused ({answer.status})")


def clock(probe: S3Probe) -> Finding:
    """Signatures carry the time."""
    answer = probe.ask("GET", probe.get_address(probe.key("small")))
    told = answer.headers.get("Date")
    if told is None:
        return warning("s3.clock", "the server does not tell its time", "compare its clock with this one yourself")
    skew_s = (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds()
    text = f"its clock is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's"
    if abs(skew_s) > _TOO_SKEWED_S:
        return error("s3.clock", text, "run an NTP service on both: from 15 minutes on every signature is refused")
    if abs(skew_s) > _SKEW_S:
        return warning("s3.clock", text, "run an NTP service on both: signed addresses begin late or end early")
    return ok("s3.clock", text)


def browsers(probe: S3Probe, *, origin: str) -> Finding:
    """Pages of gateway.cors_origins read results and send uploads themselves."""
    asked = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
    answer = probe.ask("OPTIONS", probe.get_address(probe.key("small")), headers=asked)
    allowed = answer.headers.get("Access-Control-Allow-Origin")
    if answer.status not in (200, 204) or allowed not in (origin, "*"):
        todo = "put the origins of gateway.cors_origins into the bucket's CORS rules: GET, HEAD, PUT, header range"
        return warning("s3.browsers", f"a browser's preflight from {origin} is answered with {answer.status}", todo)
    return ok("s3.browsers", f"pages of {origin} may read and upload")


def keys(settings: S3Settings) -> Finding:
    """The keys are not the ones that everybody knows."""
    if settings.secret_key == type(settings).model_fields["secret_key"].default:
        return warning("s3.keys", "s3.secret_key is the default, which everybody knows", "set keys of your own")
    return ok("s3.keys", "keys of your own")


def _tried(check: Callable[[S3Probe], Finding], probe: S3Probe) -> Finding:
    """The check's finding, or the failure of the store in the middle of it."""
    try:
        return check(probe)
    except S3Error as refused:
        why = f"{refused.code}: {refused.message}"
    except (FarmError, MinioException, urllib3.exceptions.HTTPError) as failed:
        why = reason(failed)
    name = getattr(check, "__name__", "browsers").replace("_", "-")
    return error(f"s3.{name}", why, "look at the server's log; try again")
