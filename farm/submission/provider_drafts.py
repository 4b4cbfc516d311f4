"""What a draft of a provider's dialect means on this farm: rules for what those dialects cannot say. Pure."""

from collections.abc import Collection
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from farm.config import S3Settings
from farm.jobs.draft import Draft, Source
from farm.storage.object_keys import is_upload_id, upload_key
from models.catalog import tiny_of
from models.catalog.model import Model

#: tasks that follow a clip
ANIMATE = ("animate", "replace")
#: the prompt that Wan-Animate was trained with; its dialects have no field for one
_ANIMATE_PROMPT = "A person in motion."


def completed(draft: Draft, offered: Collection[str]) -> Draft:
    """The draft with the prompt of Animate where it has none, for the model that stands in for its own.

    A stand-in renders its own default shape: a large clip would take it minutes.
    """
    if draft.task in ANIMATE and not draft.prompt:
        draft = replace(draft, prompt=_ANIMATE_PROMPT)
    model = stand_in(draft.model or "", offered)
    if model == (draft.model or ""):
        return draft
    return replace(draft, model=model, resolution=None, aspect=None, frames=None, seconds=None, fps=None, steps=None)


def with_own_uploads(draft: Draft, s3: S3Settings, tenant: str) -> Draft:
    """The draft with uploads where it has the addresses that were given out for them: a farm does not fetch from
    itself."""
    return replace(draft, inputs={role: _own_upload(source, s3, tenant) for role, source in draft.inputs.items()})


def _own_upload(source: Source, s3: S3Settings, tenant: str) -> Source:
    parts = urlsplit(source.url or "")
    if parts.netloc not in (s3.endpoint, s3.public_endpoint):
        return source
    prefix = f"/{s3.bucket}/{upload_key(tenant, '')}"
    path = unquote(parts.path)
    upload = path.removeprefix(prefix)
    return Source(upload=upload) if path.startswith(prefix) and is_upload_id(upload) else source


def stand_in(model: str, offered: Collection[str]) -> str:
    """The model that renders a job for `model`: its tiny twin on a farm that offers only that one, else itself."""
    tiny = tiny_of(model)
    return tiny if model not in offered and tiny in offered else model


def keeps_own_shape(model: Model) -> bool:
    """Whether a job in a dialect with one fixed shape gets the model's own shape instead: a tiny model stands in on a
    machine without a GPU, where the fixed shape would take minutes."""
    return model.weights.tiny
