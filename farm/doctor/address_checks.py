"""Addresses that are handed out: whether others can dial them, and whether they lead here."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import urllib3

from farm.claiming.page_address import on_loopback
from farm.config import Settings
from farm.doctor.finding import Finding, error, ok, warning
from farm.doctor.s3_checks import reason
from farm.doctor.s3_probe import S3Probe
from farm.storage.store import Store

_ANSWER_S = 3.0
_ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check of an address."""
    yield results(settings)
    if settings.s3.public_endpoint is not None:
        yield signatures(settings)
    yield links(settings)
    if settings.gateway.public_url is not None:
        yield gateway(settings.gateway.public_url)


def results(settings: Settings) -> Finding:
    """Clients of other machines can dial what results' addresses name."""
    public = settings.s3.public_endpoint or settings.s3.endpoint
    serves_others = settings.gateway.public_url is not None or not on_loopback(f"{settings.gateway.host}:0")
    if serves_others and on_loopback(public if ":" in public else f"{public}:0"):
        return error(
            "address.results",
            f"clients of other machines are sent to {public} for results, which is their own machine",
            "set s3.public_endpoint to the store's address as clients dial it",
        )
    if serves_others and settings.s3.public_endpoint is None:
        return warning(
            "address.results",
            f"results' addresses name {public}, where the farm itself dials the store",
            "if clients reach the store under another name, set s3.public_endpoint",
        )
    return ok("address.results", f"results' addresses name {public}")


def signatures(settings: Settings) -> Finding:
    """The public address leads to the same store, and what is in between leaves signatures whole."""
    public = settings.s3.public_endpoint
    missing = Store(settings.s3).presign_get(f"{S3Probe(settings.s3).folder}never-written")
    try:
        answer = S3Probe(settings.s3).ask("GET", missing)
    except urllib3.exceptions.HTTPError as away:
        return warning(
            "address.signatures",
            f"{public} cannot be dialled from here ({reason(away)})",
            "try it from a client's machine: wanfarm submit, then open the result",
        )
    if answer.status == 404:
        return ok("address.signatures", f"{public} takes our signatures")
    return error(
        "address.signatures",
        f"{public} answers a signed address with {answer.status}",
        "a proxy in front must pass path, query and Host header unchanged; s3.public_secure must be right",
    )


def links(settings: Settings) -> Finding:
    """What the gateway calls itself."""
    given = settings.gateway
    if given.public_url is None and given.host in _ANYWHERE:
        return warning(
            "address.links",
            "gateway.public_url is not set: links name whatever host a client asked for",
            "set it to the address of the proxy or load balancer",
        )
    return ok("address.links", f"links name {given.public_url or given.host}")


def gateway(public_url: str) -> Finding:
    """A gateway answers at the address in links."""
    try:
        answer = httpx.get(f"{public_url.rstrip('/')}/v1/health/live", timeout=_ANSWER_S)
    except (httpx.HTTPError, httpx.InvalidURL) as away:
        host = urlsplit(public_url).netloc
        todo = "start the gateway; if it runs, try from a client's machine: a name may not resolve from here"
        return warning("address.gateway", f"{host} does not answer ({away})", todo)
    if answer.status_code != 200:
        todo = "send /v1 there to the gateway; wanfarm's own answer to /v1/health/live is 200"
        return error("address.gateway", f"{public_url} answers {answer.status_code}", todo)
    return ok("address.gateway", f"{public_url} answers")
