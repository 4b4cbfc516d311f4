"""The parts that everything in one burst process shares."""

from dataclasses import dataclass
from pathlib import Path

from farm.claiming.leases import LeaseKeeper
from farm.claiming.permits import Permits
from farm.config import Settings
from farm.guard import Guard
from farm.jobs.purchase import Purchase
from farm.ledger import Ledger
from farm.providers.entry import Entry
from farm.providers.gate import Gate
from farm.providers.registry import Providers
from farm.results.provenance import Policies
from farm.storage.store import Store
from farm.tenants.tenants import Tenants


@dataclass(frozen=True)
class BurstContext:
    """`scratch` holds a folder per result that is fetched."""

    settings: Settings
    worker: str
    ledger: Ledger
    store: Store
    permits: Permits
    leases: LeaseKeeper
    providers: Providers
    gate: Gate
    policies: Policies
    tenants: Tenants
    guard: Guard
    scratch: Path

    def entry_of(self, purchase: Purchase) -> Entry | None:
        """None where the settings no longer have that provider, or that account of it."""
        entry = self.providers.entries.get(purchase.provider)
        return entry if entry is not None and purchase.intent["key"] in entry.key_names else None
