"""From a job's settled spec back to what a dialect can ask for. Pure.

A spec keeps what is rendered: sides, frames, a rate, and every default filled in. A provider is asked in words:
"480p", "16:9", five seconds. Whoever asked in words gets the same words back, because only words that make exactly this
shape are said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from farm.jobs.draft import Draft, Source
from farm.jobs.inputs import Kind, kind_of
from farm.jobs.spec import JobSpec
from farm.wire.answers import RATIOS
from models.catalog import MODELS, Model, named_aspect, resolution_word, size_of_area


@dataclass(frozen=True)
class PurchaseOrder:
    """One job to be bought. `inputs`: role -> where the provider fetches it.

    key          names the one submission (an idempotency key, where the dialect has them)
    webhook_url  where the provider may tell the end; it decides nothing
    dialect_data what the dialect needs beside (apixo's route)
    model        the catalog id that is asked for instead of the spec's. Its knobs are then its own: what stands in the
                 spec as the spec's model has it by default is not said
    """

    spec: JobSpec
    inputs: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    webhook_url: str | None = None
    dialect_data: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None

    @property
    def in_numbers(self) -> Draft:
        """Everything as it is rendered here: for another farm."""
        return self._numbers() if self.model in (None, self.spec.model) else self.in_plain_numbers

    def _numbers(self) -> Draft:
        spec = self.spec
        return Draft(
            **self._common(),
            width=spec.width,
            height=spec.height,
            # a clip that follows another has that one's length
            frames=None if _follows(spec) else spec.frames,
            fps=None if _follows(spec) else round(spec.fps),
            steps=spec.steps,
            guidance=spec.guidance,
            guidance_2=spec.guidance_2,
            shift=spec.shift,
        )

    @property
    def in_words(self) -> Draft:
        """A resolution word, an aspect (None: the picture's own) and seconds; of the rest what is not the default."""
        spec, model = self.spec, MODELS.get(self.spec.model)
        resolution, aspect = size_words(spec)
        followed = _follows(spec)
        another_rate = model is not None and not followed and spec.fps != model.defaults.fps
        return replace(
            self.in_plain_numbers,
            width=None,
            height=None,
            frames=None,
            resolution=resolution,
            aspect=aspect,
            seconds=None if followed else seconds_word(spec.frames, spec.fps),
            fps=round(spec.fps) if another_rate else None,
        )

    @property
    def in_plain_numbers(self) -> Draft:
        """The same without the knobs that stand as the model has them."""
        model, numbers = MODELS.get(self.spec.model), self._numbers()
        if model is None:
            return numbers
        own = model.defaults
        return replace(
            numbers,
            steps=None if numbers.steps == own.steps else numbers.steps,
            guidance=None if numbers.guidance == own.guidance else numbers.guidance,
            guidance_2=None if numbers.guidance_2 == own.guidance_2 else numbers.guidance_2,
            shift=None if numbers.shift == own.shift else numbers.shift,
        )

    def _common(self) -> dict[str, Any]:
        return {
            "prompt": self.spec.prompt,
            "model": self.model or self.spec.model,
            "task": self.spec.task,
            "negative_prompt": self.spec.negative_prompt or None,
            "seed": self.spec.seed,
            "inputs": {role: Source(url=url) for role, url in self.inputs.items()},
            "loras": self.spec.loras,
            "options": self.spec.options,
            "idempotency_key": self.key,
            "webhook_url": self.webhook_url,
            "dialect_data": self.dialect_data,
        }


def size_words(spec: JobSpec) -> tuple[str, float | None]:
    """(resolution word, aspect) that make the spec's sides by Wan's rule. An aspect of None: the picture's own. Sides
    that no words make: the nearest resolution, and their own ratio."""
    model, sides = MODELS.get(spec.model), (spec.width, spec.height)
    nearest = resolution_word(*sides)
    if model is not None:
        words = sorted(model.resolutions, key=lambda word: word != nearest)
        named = [(word, ratio) for word in words for ratio in RATIOS.values()]
        found = next(((w, r) for w, r in named if _sides(model, model.resolutions[w], r) == sides), None)
        own = next((w for w in words if _as_its_picture(spec, model, w)), None)
        # a picture that is as wide as its clip is the likelier word: nobody named an aspect that is there already
        if own is not None:
            return own, None
        if found is not None:
            return found
    return nearest, spec.width / spec.height


def _sides(model: Model, area: int, aspect: float) -> tuple[int, int]:
    return size_of_area(model, area, named_aspect(model, area, aspect))


def _as_its_picture(spec: JobSpec, model: Model, word: str) -> bool:
    area = model.resolutions[word]
    return any(
        size_of_area(model, area, ref.width / ref.height) == (spec.width, spec.height)
        for role, ref in spec.inputs.items()
        if ref.width and ref.height and kind_of(role) is not Kind.SOUND
    )


def seconds_word(frames: int, fps: float) -> float:
    """The plainest number of seconds that makes `frames` (4n+1) at `fps`: 5 for 81 at 16, not 5.0625."""
    for digits in range(4):
        seconds = round((frames - 1) / fps, digits)
        if seconds > 0 and max(4 * round((seconds * fps - 1) / 4) + 1, 5) == frames:
            return seconds
    return frames / fps


def _follows(spec: JobSpec) -> bool:
    model = MODELS.get(spec.model)
    return model is not None and model.follows is not None
