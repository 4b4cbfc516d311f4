"""The dashboards as the files that Grafana reads: `python -m monitoring.dashboards` writes them."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring.dashboards import batches, burst, ledger, overview, service, tenants, workers

FOLDER = Path(__file__).parents[1] / "grafana" / "dashboards"


def files() -> dict[str, str]:
    """File name -> its text, one for each dashboard."""
    boards = [module.make() for module in (overview, tenants, batches, workers, service, ledger, burst)]
    return {f"{one.uid}.json": json.dumps(one, cls=JSONEncoder, indent=1, sort_keys=True) + "\n" for one in boards}
