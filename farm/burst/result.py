"""A bought result on its way into the farm: fetched through the guard, checked by decoding it, published under the
attempt's own prefix with a recipe that says where it is from."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from farm.burst.account import ProviderAccount
from farm.burst.context import BurstContext
from farm.claiming import retry
from farm.intake import media
from farm.intake.rendition import look_at_finished
from farm.jobs.errors import (
    AddressRefused,
    AddressUnreachable,
    FarmError,
    InvalidRequest,
    TooLarge,
)
from farm.jobs.inputs import Kind
from farm.jobs.job import Claim, Job
from farm.jobs.purchase import Purchase
from farm.ledger import CommitOutcome
from farm.results.publish import Publication, verify
from farm.wire.report import Report
from models.planning.request import RenderResult
from models.provenance import recipe_file

log = logging.getLogger(__name__)


class NotYetHere(FarmError):
    """The result could not be fetched now: its address does not answer. A new look may tell a fresh address."""


class Unusable(FarmError):
    """The result is there and is no video that can be handed on."""


def publish(
    claim: Claim, account: ProviderAccount, report: Report, context: BurstContext, check: Callable[[], None]
) -> CommitOutcome:
    """Fetch, check, upload and commit. Raises NotYetHere, Unusable, JobFault, and whatever `check` raises, which is
    called in between."""
    folder = context.scratch / f"{claim.job.id}-{claim.attempt}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    publication = Publication(claim, context.settings, context.ledger, context.store, check)
    try:
        policy = retry.redis(lambda: context.policies.before_render(claim.job.tenant), check)
        result = _made(claim.job, account, report, context, folder)
        verify(result, "the provider")
        return publication.commit(publication.upload(result, policy), gpu_s=0.0)
    finally:
        publication.discard()
        shutil.rmtree(folder, ignore_errors=True)


def _made(job: Job, account: ProviderAccount, report: Report, context: BurstContext, folder: Path) -> RenderResult:
    video, poster, told = folder / "video.mp4", folder / "poster.jpg", folder / "recipe.json"
    _fetch(account, report, context, video)
    found = _looked_at(video, poster, context)
    made = recipe_of(job, account.purchase, report)
    recipe_file.write(told, made)
    return RenderResult(
        video=str(video),
        poster=str(poster),
        recipe_path=str(told),
        recipe=made,
        width=found.width or 0,
        height=found.height or 0,
        frames=found.frames or 0,
        fps=found.fps or 0.0,
        timings={},
    )


def _fetch(account: ProviderAccount, report: Report, context: BurstContext, to: Path) -> None:
    burst = context.settings.burst
    if not report.urls:
        raise NotYetHere("the provider names no result")
    url = report.urls[0]
    try:
        with to.open("wb") as out:
            context.guard.fetch(
                url, out, limit=burst.max_result_bytes, seconds=burst.result_s, headers=account.result_headers(url)
            )
    except AddressRefused as error:
        raise Unusable(f"its address is not dialled: {error.detail} (burst.allow_networks)") from error
    except TooLarge as error:
        raise Unusable(error.detail) from error
    except AddressUnreachable as error:
        raise NotYetHere(error.detail) from error


def _looked_at(video: Path, poster: Path, context: BurstContext) -> media.Media:
    limits = context.settings.intake.model_copy(update={"max_clip_s": 600.0})
    with video.open("rb") as file:
        try:
            form = media.form_of(file.read(media.HEAD), Kind.CLIP)
            file.seek(0)
            seen = look_at_finished(file, form, limits)
        except InvalidRequest as error:
            raise Unusable(error.detail) from error
    with seen.file, poster.open("wb") as out:
        shutil.copyfileobj(seen.file, out)
    return seen.media


def recipe_of(job: Job, purchase: Purchase, report: Report) -> dict[str, object]:
    """Everything that is known about how it was made. It cannot be made again from this: the weights are elsewhere."""
    spec, intent = job.spec, purchase.intent
    asked = asdict(spec)
    for name in ("inputs", "loras", "picture_area", "length_of"):
        asked.pop(name)
    return {
        "recipe": recipe_file.FORMAT,
        **asked,
        "options": dict(spec.options),
        "inputs": {role: ref.sha256 for role, ref in spec.inputs.items()},
        "loras": [],
        "bought": {
            "provider": purchase.provider,
            "dialect": intent["dialect"],
            "key": intent["key"],
            "id": purchase.id,
            "model": intent["sold"],
            "match": intent["match"],
            "match_source": intent.get("source", ""),
            "price_usd": purchase.price / 1e6,
            "cost_usd": None if purchase.cost is None else purchase.cost / 1e6,
            "finished_ms": report.finished_ms,
        },
    }
