"""The address under which others find a page of metrics, and saying that it is there."""

import logging
import socket
import threading

from farm.jobs.errors import Unavailable
from farm.jobs.metrics_page import MetricsPage
from farm.ledger import Ledger

log = logging.getLogger(__name__)

#: how often a process tells that its page is there, and how long that is believed, s
EVERY_S, BELIEVED_S = 5.0, 20.0
_ANYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound


def own_address() -> str:
    """The address of this machine on the network that its default route uses; loopback when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # a datagram socket sends nothing at connect: it only picks the route (TEST-NET-1, RFC 5737)
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def dialled(host: str, port: int) -> str:
    """ "host:port" for who dials a server that is bound to `host`: bound to every address, it has this machine's."""
    name = own_address() if host in _ANYWHERE else host
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def on_loopback(address: str) -> bool:
    """Whether "host:port" can be dialled from its own machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    return host == "localhost" or host.startswith("127.") or host == "::1"


def announce(ledger: Ledger, role: str, address: str, over: threading.Event) -> threading.Thread:
    """Say every few seconds, from a thread, that this process shows its metrics there, until `over`."""
    page = MetricsPage(role, socket.gethostname(), address)

    def say() -> None:
        while not over.is_set():
            try:
                ledger.page_seen(page, ttl_s=BELIEVED_S)
            except Unavailable as error:
                log.warning("could not tell where the metrics are: %s", error)
            over.wait(EVERY_S)

    thread = threading.Thread(target=say, name="metrics-page", daemon=True)
    thread.start()
    return thread
