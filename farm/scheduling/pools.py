"""Which pool serves a model, whether it can hold a shape, and how long it will take there. Knows what workers report;
reserves nothing."""

import time
from collections.abc import Callable, Mapping, Sequence

from farm.config import Settings
from farm.jobs.errors import InvalidRequest, ModelUnavailable, NoWorkerYet
from farm.scheduling.memory_fit import needs_of
from farm.scheduling.offers import PoolOffer, Takers, takers
from farm.scheduling.throughput import Speed, predicted_s
from models.catalog import MODELS, Settled
from models.planning import plan

#: seconds that the workers' reports are used before they are asked for again
_FRESH_S = 1.0
#: and their measured speeds, which change slowly
_SPEEDS_FRESH_S = 5.0
#: a pool whose workers fell silent is still sent jobs for this long: they restart, and the queue waits for them
_REMEMBERED_S = 900.0
#: seconds; loading, encoding and uploading take a moment whatever the model
_LEAST_S = 1.0


class Pools:
    """One per process; threads may share it. `offers` is Ledger.offers, `speeds` Ledger.speeds."""

    def __init__(
        self,
        settings: Settings,
        offers: Callable[[], Sequence[PoolOffer]],
        clock: Callable[[], float] = time.monotonic,
        speeds: Callable[[str], Mapping[str, Speed]] = lambda _pool: {},
    ) -> None:
        self._settings = settings
        self._ask = offers
        self._clock = clock
        self._speeds = speeds
        #: pool -> (when it was asked for, the measured speed of each lane)
        self._measured: dict[str, tuple[float, Mapping[str, Speed]]] = {}
        self._asked = -1e9
        self._offers: Sequence[PoolOffer] = ()
        #: (model, pool) -> when a live worker last said so
        self._seen: dict[tuple[str, str], float] = {}

    def offered(self) -> tuple[str, ...]:
        """Ids of the models that some pool serves, in the catalog's order."""
        self._refresh()
        return tuple(model for model in MODELS if self._candidates(model))

    def rendered_now(self) -> frozenset[str]:
        """Ids of the models that a live worker renders now; at most _FRESH_S old."""
        self._refresh()
        return frozenset(model for offer in self._offers if offer.workers for model in offer.models)

    def takers(self, pool: str, model: str, needs: str) -> Takers:
        """The live workers of the pool that could render a job of the model with these needs; at most _FRESH_S old."""
        self._refresh()
        return takers(self._offers, pool, model, needs)

    def offered_or_unavailable(self) -> tuple[str, ...]:
        """As offered; raises NoWorkerYet while no worker has reported its models."""
        if offered := self.offered():
            return offered
        raise NoWorkerYet("no worker has said yet which models it renders; try again in a moment", 2.0)

    def pool_for(self, model: str, burden: plan.Burden | None = None) -> str:
        """The pool to queue a job of `model` in: of those that can hold the burden, the one with the most live workers
        for the model.

        Raises ModelUnavailable when other models are served but not this one, InvalidRequest with the largest shape
        that some worker could hold when none can hold this one, Unavailable when nothing is known yet.
        """
        self._refresh()
        candidates = self._candidates(model)
        if candidates and burden is not None:
            holding = {pool for pool in candidates if self.refusal(burden, pool) is None}
            if not holding:
                raise InvalidRequest(self.refusal(burden, *candidates) or "", "resolution")
            candidates = holding
        if candidates:
            return min(candidates, key=lambda pool: (-self._count(pool, model), pool))
        offered = ", ".join(self.offered_or_unavailable())
        raise ModelUnavailable(f"{model!r} is not rendered here; choose one of {offered}", "model")

    def refusal(self, burden: plan.Burden, *pools: str) -> str | None:
        """Why no worker of these pools can hold the burden, with the limits of the largest one; None when one can, or
        none is known."""
        self._refresh()
        told = [offer.memory for offer in self._offers if offer.pool in pools and burden.model.id in offer.models]
        known = [memory for memory in told if memory is not None]
        needs = needs_of(burden)
        if not known or len(known) < len(told) or any(memory.holds(needs) for memory in known):
            return None
        roomiest = max(known, key=lambda memory: (memory.device_mb, memory.host_mb))
        return plan.refusal(burden, roomiest.room)

    def nearest(self, burden: plan.Burden) -> plan.Burden | None:
        """The nearest that some pool for the model holds of what none does: shorter, or else smaller. None when there
        is nothing like it."""
        known = [offer.memory for offer in self._offers if offer.memory is not None and burden.model.id in offer.models]
        if not known:
            return None
        roomiest = max(known, key=lambda memory: (memory.device_mb, memory.host_mb))
        return plan.nearest(burden, roomiest.room)

    def predict_s(self, shape: Settled, pool: str) -> float:
        """Predicted seconds on one GPU of the pool, from the measured speed of the lane."""
        speed = self._measured_of(pool).get(shape.model.lane)
        return max(_LEAST_S, predicted_s(shape.work_tflop, speed, self.assumed_tflops(pool)))

    def assumed_tflops(self, pool: str) -> float:
        """Speed of one GPU of the pool before it is measured, TFLOP/s: from the pool's settings, else
        scheduling.assumed_tflops."""
        configured = self._settings.pools.get(pool)
        return (configured and configured.tflops) or self._settings.scheduling.assumed_tflops

    def _measured_of(self, pool: str) -> Mapping[str, Speed]:
        now = self._clock()
        asked, speeds = self._measured.get(pool, (-1e9, {}))
        if now - asked >= _SPEEDS_FRESH_S:
            speeds = self._speeds(pool)
            self._measured[pool] = (now, speeds)
        return speeds

    def wall_s(self, predicted_s: float) -> float:
        """Seconds that one attempt of a job with this prediction may take at most."""
        lease = self._settings.lease
        return max(lease.wall_min_s, lease.wall_factor * predicted_s)

    def _candidates(self, model: str) -> set[str]:
        horizon = self._clock() - _REMEMBERED_S
        found = {pool for (seen, pool), when in list(self._seen.items()) if seen == model and when >= horizon}
        found |= {name for name, pool in self._settings.pools.items() if model in pool.models}
        if model in self._settings.worker.models:
            found.add(self._settings.worker.pool)
        return found

    def _count(self, pool: str, model: str) -> int:
        return sum(offer.workers for offer in self._offers if offer.pool == pool and model in offer.models)

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._asked < _FRESH_S:
            return
        offers = self._ask()
        self._seen.update({(model, offer.pool): now for offer in offers if offer.workers for model in offer.models})
        self._offers, self._asked = offers, now
