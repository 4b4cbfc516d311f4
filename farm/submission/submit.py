"""The one way in: drafts from any dialect become NewJobs, are admitted, and workers are woken. Knows no dialect.

Everything cheap is checked first, then what has to be read, then what has to be stored; the ledger comes last. So a
request with anything wrong in it leaves nothing behind.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from farm import tracing
from farm.config import Settings
from farm.guard.dial import Deadline
from farm.intake.intake import Content, Intake
from farm.jobs.draft import TOKEN_TAIL, Draft, Source
from farm.jobs.errors import (
    AddressUnreachable,
    InvalidRequest,
    ModelUnavailable,
    RequestError,
    TooMany,
    Unavailable,
)
from farm.jobs.ids import new_job_id
from farm.jobs.job import Admitted, Job, NewJob
from farm.jobs.lanes import lane_with
from farm.jobs.spec import InputRef, JobSpec
from farm.jobs.states import Tier
from farm.ledger.ledger import Ledger
from farm.ledger.outcomes import PermitPublisher
from farm.ledger.refusals import other_request
from farm.loras.lora import LoraLookup
from farm.loras.loras import TenantLoras
from farm.scheduling.memory_fit import burden_of, needs_of
from farm.scheduling.places import TenantPlaces
from farm.scheduling.pools import Pools
from farm.storage.quota import Quota
from farm.storage.store import Store
from farm.submission import limits, lora_choice, shape
from farm.submission.again import job_again
from models.catalog import MODELS, Model, Settled

_A = TypeVar("_A")
_B = TypeVar("_B")

#: random seeds are short, so that they survive the JSON numbers of any client
SEEDS = 2**32
#: host names of one request that are resolved before it is accepted; intake resolves the rest
_VETTED_NAMES = 8


@dataclass
class _Plan:
    """A draft on its way. `contents` were read and checked, the other inputs stay addresses for the io worker."""

    draft: Draft
    model: Model
    task: str
    pool: str
    shape: shape.Shape
    options: Mapping[str, Any]
    loras: lora_choice.JobLoras
    contents: dict[str, Content] = field(default_factory=dict)


class Submissions:
    """One per process; threads may share it.

    price   what a job costs in micro-credits, held on admission; None where no prices apply
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        store: Store,
        permits: PermitPublisher,
        *,
        intake: Intake | None = None,
        pools: Pools | None = None,
        price: Callable[[NewJob], int | None] | None = None,
        loras: TenantLoras | None = None,
        quota: Quota | None = None,
        clock_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._permits = permits
        self._quota = quota
        self.intake = intake or Intake(settings, store, quota=quota, decodes=TenantPlaces(settings.intake.sync_decodes))
        self.pools = pools or Pools(settings, ledger.offers, speeds=ledger.speeds)
        self._price = price
        self._loras = loras
        self._clock_ms = clock_ms

    def submit(
        self, tenant: str, drafts: Sequence[Draft], *, wait_inputs: bool, gone: Callable[[], bool] = lambda: False
    ) -> list[Admitted]:
        """Admit all of the drafts or none. With `wait_inputs` the caller learns here what is wrong with a picture
        behind a URL; without, and when this process is fetching too many, the job is accepted as `waiting`. Nothing
        more is read for a caller who is `gone`.

        Raises InvalidRequest and its kin, TooLarge, Conflict, TooMany, PaymentRequired, Unavailable. Where there are
        several drafts, the field begins with `jobs.<n>.`.
        """
        began = time.time_ns()
        if not drafts:
            raise InvalidRequest("there is no job in it")
        marks = [_mark(draft) if draft.idempotency_key is not None else None for draft in drafts]
        if (before := self._seen_before(tenant, drafts, marks)) is not None:
            return before
        if self._quota is not None:
            if any(draft.inputs for draft in drafts):
                # before they are read; the ledger asks again
                self._quota.check(tenant)
            else:
                self._quota.check_disk()
        lookup = self._lora_lookup(tenant)
        plans = _each(drafts, lambda draft: self._plan(tenant, draft, lookup))
        self.vet_addresses(drafts)
        with ExitStack() as reading:
            self._read(tenant, plans, wait_inputs, reading, gone)
            _each(plans, self._reshape)
            refs = self._keep(tenant, plans)
        admitted = self._admit([self._job(tenant, *each) for each in zip(plans, refs, marks, strict=True)])
        for one, plan in zip(admitted, plans, strict=True):
            if one.created:
                facts = {"tenant": tenant, "dialect": plan.draft.dialect, "model": plan.model.id}
                tracing.span(one.id, "request", began, time.time_ns(), root=True, **facts)
        return admitted

    def again(self, job: Job, *, key: str | None = None) -> Admitted:
        """A new job like one that is over, of the same owner. With the same `key` it is made once. Raises as
        farm.submission.again.job_again and Ledger.admit do."""
        if self._quota is not None:
            self._quota.check_disk()
        return self._admit([replace(job_again(job, self.pools, self._store), idempotency_key=key, body_sha256=key)])[0]

    def _admit(self, jobs: list[NewJob]) -> list[Admitted]:
        admitted, permits = self._ledger.admit([self._priced(job) for job in jobs])
        self._permits.publish(permits)
        return admitted

    def would_be(self, tenant: str, draft: Draft) -> NewJob:
        """The job that the draft would become, for an estimate: nothing is read or stored. Raises as submit."""
        inputs = {
            role: InputRef(url=source.url, upload=source.upload, last_frame_of=source.last_frame_of)
            for role, source in draft.inputs.items()
        }
        return self._job(tenant, self._plan(tenant, draft, self._lora_lookup(tenant)), inputs, None)

    def quoted(self, tenant: str, draft: Draft) -> NewJob:
        """As would_be, with its price."""
        return self._priced(self.would_be(tenant, draft))

    def _priced(self, job: NewJob) -> NewJob:
        """With the credit that is held for it."""
        if self._price is None:
            return job
        hold = self._price(job)
        return job if hold == job.hold else replace(job, hold=hold)

    def check_room(self, tenant: str) -> None:
        """Raises Forbidden when the tenant's room in the store is full, Unavailable when the disk's is."""
        if self._quota is not None:
            self._quota.check(tenant)

    def _seen_before(self, tenant: str, drafts: Sequence[Draft], marks: Sequence[str | None]) -> list[Admitted] | None:
        """The first answer, when all of it was said before: a repeated request must not depend on its inputs' still
        being there."""
        found = []
        for draft, mark in zip(drafts, marks, strict=True):
            if draft.idempotency_key is None or mark is None:
                return None
            limits.check_key(draft)
            known = self._ledger.known_key(tenant, draft.idempotency_key)
            if known is None:
                return None
            job_id, body_sha256 = known
            if body_sha256 != mark:
                raise other_request(draft.called("idempotency_key"))
            found.append(Admitted(job_id, created=False))
        return found

    def _lora_lookup(self, tenant: str) -> LoraLookup:
        return self._loras.lookup(tenant) if self._loras else lambda _: None

    def _plan(self, tenant: str, draft: Draft, lookup: LoraLookup) -> _Plan:
        """All that can be checked without reading an input."""
        limits.check(draft, self._clock_ms())
        model = self.model_for(draft)
        task = shape.task_of(draft, model)
        loras = lora_choice.chosen_loras(draft, model, tenant, self._settings.loras.max_per_job, lookup)
        settled = shape.settle(draft, model, task, {})
        options = shape.options_of(draft, settled.settled)
        try:
            pool = self._pool(draft, settled.settled, options, loras)
        except InvalidRequest as error:
            nearest = self._nearest(draft, settled.settled, options, loras)
            if isinstance(error, ModelUnavailable) or nearest is None:
                raise
            draft, settled = nearest, shape.settle(nearest, model, task, {})
            pool = self._pool(draft, settled.settled, options, loras)
        return _Plan(draft, model, task, pool, settled, options, loras)

    def model_for(self, draft: Draft) -> Model:
        """The model named, or the default one for what was given. Raises as submit does."""
        if draft.model is not None:
            if draft.model not in MODELS:
                offered = ", ".join(self.pools.offered() or sorted(MODELS))
                raise ModelUnavailable(f"unknown model {draft.model!r}; choose one of {offered}", draft.called("model"))
            return MODELS[draft.model]
        task = draft.task or ("i2v" if "image" in draft.inputs else "t2v")
        chosen = getattr(self._settings.default_models, task, None)
        for name in (chosen,) if chosen else self.pools.offered_or_unavailable():
            model = MODELS.get(name)
            if model is None:
                raise ModelUnavailable(f"the default model {name!r} is not in the catalog", "model")
            if task in model.tasks and set(model.tasks[task]) <= set(draft.inputs) <= set(model.roles(task)):
                return model
        raise draft.refused("model", f"no model here does {task} with {', '.join(draft.inputs) or 'no inputs'}")

    def _pool(self, draft: Draft, settled: Settled, options: Mapping[str, Any], loras: lora_choice.JobLoras) -> str:
        try:
            return self.pools.pool_for(settled.model.id, burden_of(settled, options, loras))
        except ModelUnavailable as error:
            error.field = draft.called("model")
            raise
        except InvalidRequest as error:
            raise draft.refused(shape.size_field(draft), error.detail) from None

    def _nearest(
        self, draft: Draft, settled: Settled, options: Mapping[str, Any], loras: lora_choice.JobLoras
    ) -> Draft | None:
        """What memory holds of a draft whose dialect knows no other values, with a note of it; None where the draft is
        to be refused."""
        burden = burden_of(settled, options, loras)
        near = self.pools.nearest(burden) if draft.nearest and settled.model.follows is None else None
        if near is None:
            return None
        note = f"{burden.called} does not fit the memory of this farm's GPUs; the nearest that does is rendered"
        return replace(
            draft,
            width=near.width,
            height=near.height,
            # whole, as clients read it
            seconds=float(max(1, int(near.frames / settled.fps))),
            frames=None,
            dialect_data={**draft.dialect_data, "notes": [note]},
        )

    def vet_addresses(self, drafts: Sequence[Draft]) -> None:
        """Refuse at once what the guard would refuse later: raises AddressRefused, AddressUnreachable. A name server
        that does not answer is no reason to refuse."""
        deadline = Deadline(self._settings.intake.connect_s)
        vetted: set[tuple[bool, str]] = set()

        def vet(draft: Draft) -> None:
            asked = [(source.url, role, False) for role, source in draft.inputs.items()]
            for url, name, webhook in (*asked, (draft.webhook_url, "webhook_url", True)):
                if url is None or (webhook, url) in vetted:
                    continue
                vetted.add((webhook, url))
                resolve = len(vetted) <= _VETTED_NAMES and deadline.left_s > 0
                try:
                    self.intake.guard.vet(url, webhook=webhook, resolve=resolve, seconds=deadline.left_s)
                except RequestError as error:
                    # a receiver that is not there yet is tried again when there is something to tell it
                    if isinstance(error, AddressUnreachable) and (error.passing or webhook):
                        continue
                    error.field = draft.called(name)
                    raise

        _each(drafts, vet)

    def _read(
        self, tenant: str, plans: Sequence[_Plan], wait_inputs: bool, reading: ExitStack, gone: Callable[[], bool]
    ) -> None:
        """Fill in the plans' contents. The same address or upload in several drafts is read once."""
        deadline = Deadline(self._settings.intake.total_s)
        known: dict[tuple[str, Source], Content] = {}
        urls = {source.url for plan in plans for source in plan.draft.inputs.values() if source.url is not None}
        fetch = wait_inputs and len(urls) <= self._settings.intake.sync_fetches

        def look(plan: _Plan, role: str, source: Source) -> Content | None:
            """None: it is fetched later, by intake."""
            name = plan.draft.called(role)
            if gone():
                raise Unavailable("whoever asked has hung up")
            if source.url is None:
                return self.intake.look(tenant, role, source, field=name)
            if not fetch or deadline.left_s <= 0:
                return None
            with self.intake.fetch_slot(tenant) as free, suppress(TooMany):
                if free:
                    return self.intake.look(tenant, role, source, field=name, seconds=deadline.left_s)
            return None

        def read(plan: _Plan) -> None:
            for role, source in plan.draft.inputs.items():
                content = known.get((role, source)) or look(plan, role, source)
                if content is not None:
                    if (role, source) not in known:
                        reading.callback(content.close)
                        known[role, source] = content
                    plan.contents[role] = content

        _each(plans, read)

    def _reshape(self, plan: _Plan) -> None:
        """Now that inputs were read, the shape is known that follows from them."""
        if plan.contents:
            seen = {role: content.media for role, content in plan.contents.items()}
            plan.shape = shape.settle(plan.draft, plan.model, plan.task, seen)
            plan.pool = self._pool(plan.draft, plan.shape.settled, plan.options, plan.loras)

    def _keep(self, tenant: str, plans: Sequence[_Plan]) -> list[dict[str, InputRef]]:
        """Every input stored, or still an address."""
        # the same file may be kept as a clip for one role and as sound for another
        kept: dict[tuple[str, str], InputRef] = {}
        for plan in plans:
            for content in plan.contents.values():
                if content.hashes not in kept:
                    kept[content.hashes] = self.intake.keep(tenant, content)
        return [
            {
                role: kept[plan.contents[role].hashes] if role in plan.contents else InputRef(url=source.url)
                for role, source in plan.draft.inputs.items()
            }
            for plan in plans
        ]

    def _deadline_ms(self, draft: Draft) -> int | None:
        """An economy job has one, which is the end of its completion window."""
        if draft.deadline_ms is None and draft.tier is Tier.ECONOMY:
            return self._clock_ms() + int(1000 * self._settings.scheduling.economy_window_s)
        return draft.deadline_ms

    def _job(self, tenant: str, plan: _Plan, inputs: Mapping[str, InputRef], mark: str | None) -> NewJob:
        draft, settled = plan.draft, plan.shape.settled
        predicted_s = self.pools.predict_s(settled, plan.pool)
        return NewJob(
            id=new_job_id(),
            tenant=tenant,
            spec=JobSpec(
                model=plan.model.id,
                task=plan.task,
                prompt=draft.prompt or "",
                negative_prompt=draft.negative_prompt or "",
                width=settled.width,
                height=settled.height,
                frames=settled.frames,
                fps=settled.fps,
                steps=settled.steps,
                guidance=settled.guidance,
                guidance_2=settled.guidance_2,
                shift=settled.shift,
                seed=secrets.randbelow(SEEDS) if draft.seed is None else draft.seed,
                inputs=inputs,
                loras=plan.loras,
                options=plan.options,
                picture_area=plan.shape.picture_area,
                length_of=plan.shape.length_of,
            ),
            pool=plan.pool,
            lane=lane_with(plan.model, plan.loras),
            predicted_s=predicted_s,
            wall_s=self.pools.wall_s(predicted_s),
            needs=needs_of(burden_of(settled, plan.options, plan.loras)),
            priority=5 if draft.priority is None else draft.priority,
            deadline_ms=self._deadline_ms(draft),
            tier=draft.tier,
            start_by_ms=draft.start_by_ms,
            max_attempts=self._settings.lease.max_attempts if draft.max_attempts is None else draft.max_attempts,
            idempotency_key=draft.idempotency_key,
            body_sha256=mark,
            dialect=draft.dialect,
            dialect_data=draft.dialect_data,
            name=draft.name,
            metadata=dict(draft.metadata),
            webhook_url=draft.webhook_url,
            label=draft.label,
            external=draft.external,
            seed_given=draft.seed is not None,
        )


def _each(many: Sequence[_A], step: Callable[[_A], _B]) -> list[_B]:
    """`step` for each; an error in one of several says in which."""
    done = []
    for n, one in enumerate(many):
        try:
            done.append(step(one))
        except RequestError as error:
            if len(many) > 1:
                error.field = f"jobs.{n}.{error.field}" if error.field else f"jobs.{n}"
            raise
    return done


def _mark(draft: Draft) -> str:
    """A hash of all that was asked, so that the same key with another request is noticed."""
    asked = {name: value for name, value in asdict(draft).items() if name not in ("field_names", "idempotency_key")}
    asked["dialect_data"] = {name: value for name, value in draft.dialect_data.items() if name != TOKEN_TAIL}
    text = json.dumps(asked, sort_keys=True, default=lambda other: hashlib.sha256(other).hexdigest())
    return hashlib.sha256(text.encode()).hexdigest()
