"""The names of lanes: what must be loaded to run a job."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from farm.jobs.job import Job
from models.catalog import MODELS, Model, lane_of, lora_lane_name

#: what follows a model's id in the name of a lane
_MODEL = re.compile(r"[@+]")


def bare_lane(job: Job) -> str:
    """A job's lane without its own LoRAs: the label of metrics and of measured speeds, of which there must be few."""
    return MODELS[job.spec.model].lane if job.spec.model in MODELS else job.lane


def model_of_lane(lane: str) -> str:
    """The id of a lane's model, which pauses all of its lanes; lua/claim.lua reads it the same way."""
    return _MODEL.split(lane, maxsplit=1)[0]


def lane_with(model: Model, loras: Iterable[Mapping[str, Any]]) -> str:
    """The lane of a model with the LoRAs of a spec; models.render.renderer names it the same way."""
    return lane_of(model, tuple(lora_word(one) for one in loras))


def lora_word(one: Mapping[str, Any]) -> str:
    """What one LoRA of a spec is called in a lane's name."""
    return lora_lane_name(one["sha256"], one["expert"], one["scale"])
