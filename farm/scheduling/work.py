"""How much arithmetic a job is."""

from farm.jobs.spec import JobSpec
from models.catalog import MODELS, work_tflop


def work_of(spec: JobSpec) -> float:
    """TFLOP of a render; 0 for a model that is not in the catalog (any more)."""
    if spec.model not in MODELS:
        return 0.0
    return work_tflop(
        MODELS[spec.model],
        width=spec.width,
        height=spec.height,
        frames=spec.frames,
        steps=spec.steps,
        guidance=spec.guidance,
    )
