"""What the tests of the webhooks share: a postman with everything around him, and jobs that end."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis import Redis

from farm.config import Settings
from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.ids import new_job_id
from farm.jobs.job import Artifacts, NewJob
from farm.jobs.spec import JobSpec
from farm.ledger import Ledger
from farm.webhooks.postman import Postman

POOL = "gpu"
SPEC = JobSpec("wan2.2-t2v-a14b", "t2v", "a fox", "", 832, 480, 81, 16, 40, 4.0, 3.0, 12.0, 7)
FILES = Artifacts("results/v.mp4", "results/p.jpg", "results/r.json", 1234, "ab" * 32, 832, 480, 81, 16.0, 5.0625)


@dataclass
class Office:
    """The postman with everything around him."""

    settings: Settings
    redis: Redis
    ledger: Ledger
    postman: Postman

    def end_job(self, url: str, *, tenant: str = "acme", dialect: str = "farm", fail: bool = False, **data: Any) -> str:
        """A job that ends now; its id."""
        asked = {"dialect": dialect, "dialect_data": data, "webhook_url": url}
        new = NewJob(new_job_id(), tenant, SPEC, POOL, "lane", 1.0, 60.0, **asked)
        self.ledger.admit([new])
        claim = self.ledger.claim(POOL, "w")
        assert claim is not None
        assert claim.job.id == new.id
        if fail:
            self.ledger.fail(new.id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, "not a picture"))
        else:
            self.ledger.commit(new.id, claim.attempt, FILES, gpu_s=1.0)
        return new.id

    def until(self, condition: Callable[[], object], what: str) -> None:
        """As beat does: look, again and again."""

        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, f"waited 30 s for {what}"
            self.postman.look()
            time.sleep(0.02)  # beat's pause, shortened
