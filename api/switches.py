"""What operators switch off and on: tenants, lanes, pools, workers, providers. For the API and the console."""

from api.services import services
from farm.claiming.pool_names import pool_names, words
from farm.jobs.errors import NotFound
from farm.jobs.lanes import model_of_lane
from farm.ledger import SwitchKind
from models.catalog import MODELS


def pause(kind: SwitchKind, name: str, *, who: str, why: str) -> bool:
    """Nothing of it starts any more. Whether that changed anything. Raises NotFound for what is not there."""
    here = services()
    if kind is SwitchKind.TENANT and here.tenants.get(name) is None:
        raise NotFound(f"no tenant {name!r}")
    if kind is SwitchKind.WORKER and not here.ledger.is_live(name):
        raise NotFound(f"no live worker {name!r}")
    if kind is SwitchKind.POOL and name not in (pools := pool_names(here.settings, here.ledger)):
        raise NotFound(f"no pool {name!r}; {words(pools)}")
    if kind is SwitchKind.PROVIDER and name not in (known := here.settings.providers):
        there = f"there are {', '.join(sorted(known))}" if known else "there are none"
        raise NotFound(f"no provider {name!r} in the settings; {there}")
    if kind is SwitchKind.LANE and model_of_lane(name) not in MODELS:
        raise NotFound(f"no lane or model {name!r}; GET /v1/models has the models")
    changed = here.ledger.pause(kind, name, who=who, why=why)
    here.pauses.changed()
    return changed


def resume(kind: SwitchKind, name: str, *, who: str, why: str) -> bool:
    """The end of a pause, also of what is gone meanwhile. Whether there was one."""
    here = services()
    changed, wanted = here.ledger.resume(kind, name, who=who, why=why)
    here.pauses.changed()
    here.permits.publish(wanted)
    return changed
