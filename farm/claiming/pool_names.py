"""Which pools of workers a farm has."""

from farm.config import Settings
from farm.ledger import BURST_POOL, INTAKE_POOL, Ledger


def pool_names(settings: Settings, ledger: Ledger) -> set[str]:
    """Those of the settings, of workers, and of jobs that there were. What fetches inputs, or follows purchases, is
    none."""
    return {*settings.pools, *ledger.pools(), *(one.pool for one in ledger.offers())} - {INTAKE_POOL, BURST_POOL}


def words(pools: set[str]) -> str:
    """For a sentence about one that is not there."""
    return f"there are {', '.join(sorted(pools))}" if pools else "there are none yet"
