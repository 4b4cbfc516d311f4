"""How long a job that comes now waits for a worker, of the pool as a whole. Pure."""


def expected_wait_s(queued_s: float, running_s: float, slots: int) -> float | None:
    """Seconds until all that is queued has been started. `queued_s`, `running_s`: GPU-seconds predicted for what is
    queued and for what runs, of which about half is over. None: no worker is there to wait for."""
    if not slots:
        return None
    # one more worker than jobs: nobody waits
    return (queued_s + running_s / 2) / slots if queued_s else 0.0


def entitlements(weights: dict[str, float]) -> dict[str, float]:
    """Tenant -> its part of a pool, in [0, 1], while these tenants want it."""
    total = sum(weights.values())
    return {tenant: weight / total for tenant, weight in weights.items()}
