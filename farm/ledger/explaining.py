"""Why a job waits: what stands before it, and what keeps it back."""

from farm.jobs.standing import Limit, Standing
from farm.ledger.scripts import Scripted


class Explaining(Scripted):
    """Raises Unavailable."""

    def standing(self, job_id: str) -> Standing | None:
        """How a job stands now; None when there is none of that id. What is before it counts while it is queued."""
        answer = self.run("explain", job_id)
        if not answer:
            return None
        found = dict(zip(answer[::2], answer[1::2], strict=True))
        return Standing(
            own_s=found["own_ms"] / 1000,
            own_exact=bool(found["own_exact"]),
            others_s=found["others_ms"] / 1000,
            above_s=found["above_ms"] / 1000,
            limit=Limit(found["limit"]) if found["limit"] else None,
            pool_paused=bool(found["pool_paused"]),
            lane_paused=bool(found["lane_paused"]),
            running=found["at_work"],
            capacity=found["capacity"],
            locked=found["locked"],
            fits=bool(found["fits"]),
        )
