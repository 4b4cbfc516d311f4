"""A job once more: what it asked for, as it was settled then, as a new job of its owner."""

from dataclasses import replace

from farm.jobs.errors import Conflict
from farm.jobs.ids import new_job_id
from farm.jobs.job import Job, NewJob
from farm.jobs.states import TERMINAL, Tier
from farm.scheduling.memory_fit import burden_of, needs_of
from farm.scheduling.pools import Pools
from farm.storage.store import Store
from models.catalog import MODELS, Settled


def job_again(job: Job, pools: Pools, store: Store) -> NewJob:
    """The same render, with the same seed, in whichever pool is best now. Its deadline and start-by time were for the
    first one. Raises Conflict for a job that is open or whose inputs are gone, and as Pools.pool_for does."""
    if job.state not in TERMINAL:
        raise Conflict("the job is not over")
    spec = job.spec
    if spec.model not in MODELS:
        raise Conflict("its model is no longer known here")
    gone = [role for role, ref in spec.inputs.items() if ref.key is not None and store.stat(ref.key) is None]
    if gone:
        raise Conflict(f"its {gone[0]} is no longer kept; submit it anew")
    settled = Settled(
        MODELS[spec.model],
        spec.task,
        spec.width,
        spec.height,
        spec.frames,
        spec.fps,
        spec.steps,
        spec.guidance,
        spec.guidance_2,
        spec.shift,
    )
    burden = burden_of(settled, spec.options, spec.loras)
    pool = pools.pool_for(spec.model, burden)
    predicted_s = pools.predict_s(settled, pool)
    return NewJob(
        id=new_job_id(),
        tenant=job.tenant,
        spec=replace(spec),
        pool=pool,
        lane=job.lane,
        predicted_s=predicted_s,
        wall_s=pools.wall_s(predicted_s),
        priority=job.priority,
        max_attempts=job.max_attempts,
        needs=needs_of(burden),
        tier=Tier.NORMAL,
        name=job.name,
        metadata=job.metadata,
        webhook_url=job.webhook_url,
        label=job.label,
    )
