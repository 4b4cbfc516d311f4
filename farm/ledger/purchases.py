"""Jobs that are bought from a provider: the intent, stored before anything is sent; the provider's id; and which
process follows the job. Prices, caps and the choice of a provider are not here."""

import json
from collections.abc import Mapping
from typing import Any

from farm.jobs.job import Claim, Fence
from farm.ledger.outcomes import FailOutcome, Permit
from farm.ledger.records import decode
from farm.ledger.scripts import Scripted
from farm.ledger.workforce import permits


class Purchases(Scripted):
    """A bought job is `running`, in the pool BURST_POOL. Its lease is kept, committed, failed and released as any
    other. One that runs out in a phase of a provider, or is released, makes the job claimable there (`Ledger.claim`)
    with its purchase and its phase: to be resumed, not counted, and never submitted again. `submitting` without a
    provider's id is `submit_unknown` from then on."""

    def buy(self, job_id: str, worker: str, nonce: str, purchase: Mapping[str, Any]) -> Claim | None:
        """Claim this queued job in order to buy it, and store `purchase` (small: provider, key's name, price) in the
        same write: what costs money is sent after this has returned, and never before. None: it is not there to be
        bought (claimed, held, over).

        `nonce` names the one submission that may follow: a repeated call finds the lease of the first, and buys nothing
        again after `unbuy`."""
        text = json.dumps(dict(purchase), separators=(",", ":"))
        # a late call would record a submission that was never made
        answer = self.run_in_time("buy", job_id, worker, nonce, text, patience_s=self._in_time_s, durable=True)
        if not answer:
            return None
        attempt, job = answer
        return Claim(decode(job), Fence(attempt, nonce), int(self._settings.lease.seconds * 1000))

    def bought(self, job_id: str, nonce: str, purchase_id: str) -> bool:
        """The submission arrived, and the provider calls it `purchase_id`. Said before anything else is done about it,
        by whoever learns it, lease or not. False: the job is not bought by that submission any more."""
        return bool(self.run("bought", job_id, nonce, purchase_id, durable=True))

    def unbuy(self, job_id: str, attempt: int) -> tuple[FailOutcome, list[Permit]]:
        """Nothing was sent, it was refused, or nothing will come of it: queued again in its own pool, uncounted. Ends
        the lease."""
        outcome, wanted = self.run("unbuy", job_id, Fence.text(attempt), durable=True)
        return FailOutcome(outcome), permits(wanted)
