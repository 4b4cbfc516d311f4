"""Compares what providers say an account has left with what was bought with it."""

import logging

from farm.burst.context import BurstContext
from farm.jobs.errors import FarmError, Unavailable
from farm.providers.check import balance
from farm.providers.entry import Entry

log = logging.getLogger(__name__)


class Balances:
    """One process of the farm asks at a time."""

    def __init__(self, context: BurstContext) -> None:
        self._context = context

    def look(self) -> None:
        """Ask every account that can be asked. Raises Unavailable."""
        every_s = self._context.settings.burst.balances_every_s
        if not self._context.ledger.my_turn("balances", self._context.worker, 2 * every_s):
            return
        for entry in self._context.providers.entries.values():
            for key in entry.key_names:
                try:
                    self._ask(entry, key)
                except Unavailable:
                    raise
                except FarmError as error:
                    log.info("the balance of %s/%s: %s", entry.name, key, error)

    def _ask(self, entry: Entry, key: str) -> None:
        client = self._context.providers.client_of(entry.name, key)
        units = balance(client, entry)
        left = None if units is None else entry.usd_micro(units)
        if left is None:
            return
        unexplained = self._context.ledger.balance_seen(entry.name, key, left)
        if unexplained:
            log.error("%s/%s has %.4f dollars less than the purchases explain", entry.name, key, unexplained / 1e6)
