"""What the io worker does for batches, as a process that a test can kill: `python io_keeper.py SETTINGS.json`."""

import sys
import time
from contextlib import suppress
from pathlib import Path

from farm.claiming.permits import Permits
from farm.config import Settings
from farm.io_worker.batch_keeper import keeper_of
from farm.jobs.errors import Unavailable
from farm.ledger import Ledger, connect
from farm.storage.store import Store

if __name__ == "__main__":
    settings = Settings.model_validate_json(Path(sys.argv[1]).read_bytes())
    redis = connect(settings.redis)
    keeper = keeper_of(settings, redis, Ledger(redis, settings), Store(settings.s3), Permits(settings))
    while True:
        with suppress(Unavailable):
            keeper.look()
        time.sleep(0.01)
