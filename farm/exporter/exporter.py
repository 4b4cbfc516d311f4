"""`wanfarm exporter`: serves the farm's numbers until a signal ends it. Several may run; each shows the same."""

import logging
import signal
import threading

from prometheus_client import REGISTRY

from farm.claiming.metrics_page import serve_metrics
from farm.claiming.page_address import announce
from farm.config import Settings
from farm.exporter.collector import FarmCollector
from farm.ledger import Ledger, server
from farm.ledger.connection import connect
from monitoring.roles import ProcessRole

log = logging.getLogger(__name__)


def main(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises OSError for a host that is not this machine's."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: over.set())
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with connect(settings.redis) as redis:
        server.say(redis, settings.redis)
        REGISTRY.register(FarmCollector(redis, settings))
        address = serve_metrics(ProcessRole.EXPORTER, settings.exporter.host, settings.exporter.port, any_port=True)
        assert address is not None
        log.info("the farm's metrics are at http://%s/metrics", address)
        announce(Ledger(redis, settings), ProcessRole.EXPORTER, address, over)
        over.wait()
    return 0
