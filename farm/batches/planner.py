"""A manifest becomes a plan: every line checked and priced, before anything is stored.

What lines have in common is checked once: a line is split into what is its own (prompt, seed, name, ...) and the rest,
and the rest is remembered by its text.
"""

import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, BinaryIO

from pydantic import ValidationError, create_model
from pydantic_core import to_json

from farm.batches import manifest
from farm.batches.addresses import Addresses
from farm.batches.chains import Chains, ChainShot
from farm.batches.columns import COLUMNS
from farm.batches.faults import ManifestFaults
from farm.batches.plan_file import KINDS, PlanFile
from farm.config import Settings
from farm.jobs.draft import Draft, Source
from farm.jobs.errors import RequestError
from farm.jobs.ids import new_job_id
from farm.ledger.batch_chunks import JobKind
from farm.submission.submit import SEEDS, Submissions
from farm.wire import own
from farm.wire.own_batches import BatchShot, parent_shot
from models.catalog import MAX_SEED, ROLES

#: what a line has for itself: it changes neither shape nor price nor lane
_OWN = ("prompt", "negative_prompt", "seed", "name", "metadata", "id", "takes", "after", "start_from")
_OWN_NAMES = frozenset(_OWN)
_OWN_SPEC = ("prompt", "negative_prompt")
#: stands for the prompt of any line
_ANY = "any"
#: the picture that a shot starts from
_FIRST = "image"
_SCHEMES = ("http://", "https://")
_NO_ADDRESS = 'give an http(s) address, or {"upload": ID}; `wanfarm submit` sends files of yours by itself'

#: those fields alone, with the rules of BatchShot
OwnPart: Any = create_model(
    "OwnPart",
    __base__=own.Strict,
    **{name: (BatchShot.model_fields[name].annotation, BatchShot.model_fields[name]) for name in _OWN},  # type: ignore[call-overload]
)


class Planner:
    """One per manifest. `defaults`: fields of a shot that hold where a line says nothing else."""

    def __init__(
        self, settings: Settings, submissions: Submissions, tenant: str, defaults: Mapping[str, Any], takes: int
    ) -> None:
        self._limits, self._submissions = settings.batches, submissions
        self._tenant, self._defaults, self._takes = tenant, dict(defaults), takes
        self.faults, self.chains, self.plan = ManifestFaults(), Chains(), PlanFile()
        self._addresses = Addresses(submissions.intake, tenant, settings.intake.connect_s)
        #: marks of lines that were refused, and why
        self._bad: dict[bytes, list[tuple[str | None, str]]] = {}
        #: what was said of values that all lines share
        self._told: set[tuple[str, str]] = set()
        self.shots = 0

    def read(self, file: BinaryIO, media: str) -> PlanFile:
        """The plan of a whole manifest, which is the caller's to close. Raises BadManifest; Unavailable."""
        try:
            if all(self._line(number, shot) for number, shot in self._lines(file, media)):
                self.chains.check(self.faults)
            self.faults.check()
        except BaseException:
            self.plan.close()
            raise
        return self.plan

    def _lines(self, file: BinaryIO, media: str) -> Iterator[manifest.Line]:
        limits = self._limits
        return manifest.read(file, media, COLUMNS, self.faults, max_line=limits.max_line, max_lines=limits.max_shots)

    def _line(self, number: int, raw: dict[str, Any]) -> bool:
        """Whether there is room for more jobs."""
        self.shots += 1
        own_names = raw.keys()
        raw = {**self._defaults, **raw}
        own_part, sources, mark = _split(raw)
        found = self.faults.count
        for role in [role for role, url in sources.items() if not url.lower().startswith(_SCHEMES)]:
            self._fault(number, role, _NO_ADDRESS, own_names)
            del raw[role], sources[role]
        shot = self._own_part(number, own_part, own_names)
        kind = self._kind(number, mark, raw, own_names)
        for role, url in sources.items():
            if refused := self._addresses.refusal(url):
                self._fault(number, role, refused, own_names)
        if shot is None or kind is None or found != self.faults.count:
            self.chains.refused(raw.get("id"))
            return True
        # looked at before they are made: a thousand takes of each line would be a hundred million
        if self.plan.jobs + (shot.takes or self._takes) > self._limits.max_shots:
            detail = f"this makes more than {self._limits.max_shots} jobs, takes counted: send several batches"
            self.faults.add(number, "takes", detail)
            return False
        self._add(number, kind, shot, sources, orphan_runs=raw.get("if_parent_fails") == "run")
        return True

    def _own_part(self, number: int, given: Mapping[str, Any], own_names: Collection[str]) -> Any:
        try:
            shot = OwnPart.model_validate_json(to_json(given))
        except ValidationError as error:
            for name, detail in _told(own.refusal(error, BatchShot)):
                self._fault(number, name, detail, own_names)
            return None
        if not shot.prompt.strip():
            self.faults.add(number, "prompt", "a prompt is required and must not be empty")
        return shot

    def _fault(self, number: int, name: str | None, detail: str, own_names: Collection[str]) -> None:
        """What is wrong with a value that all lines share is said once, and of no line."""
        stem = (name or "").partition(".")[0]
        if stem in own_names or stem not in self._defaults:
            self.faults.add(number, name, detail)
        elif (stem, detail) not in self._told:
            self._told.add((stem, detail))
            self.faults.add(None, name, detail)

    def _kind(
        self, number: int, mark: bytes, raw: Mapping[str, Any], own_names: Collection[str]
    ) -> tuple[int, JobKind] | None:
        known = self.plan.kind(mark)
        if known is not None:
            return known
        wrong = self._bad.get(mark)
        if wrong is None:
            try:
                return self._new_kind(mark, raw)
            except ValidationError as error:
                told = _told(own.refusal(error, BatchShot))
            except RequestError as error:
                told = _told(error)
            wrong = told
            if len(self._bad) < KINDS:
                self._bad[mark] = wrong
        for name, detail in wrong:
            self._fault(number, name, detail, own_names)
        return None

    def _new_kind(self, mark: bytes, raw: Mapping[str, Any]) -> tuple[int, JobKind]:
        # of its own part, only what changes the rest: that it starts from another
        starts = raw.get("start_from") is not None
        common = {name: value for name, value in raw.items() if name not in _OWN}
        asked = BatchShot.model_validate_json(to_json({**common, "prompt": _ANY}))
        draft = own.draft_of(asked)
        # an address that is a text is looked at line by line: it is no part of the mark
        texts = {role for role, source in draft.inputs.items() if source.url is not None and isinstance(raw[role], str)}
        rest = {role: source for role, source in draft.inputs.items() if role not in texts}
        self._addresses.check(replace(draft, inputs=rest))
        if starts:
            draft = _started(asked, draft)
        return self.plan.add_kind(mark, JobKind.of(self._submissions.quoted(self._tenant, draft)))

    def _add(
        self, number: int, kind: tuple[int, JobKind], shot: Any, sources: Mapping[str, str], *, orphan_runs: bool
    ) -> None:
        takes = shot.takes or self._takes
        jobs = [new_job_id() for _ in range(takes)]
        spec: dict[str, Any] = {name: value for name in _OWN_SPEC if (value := getattr(shot, name)) is not None}
        if sources:
            spec["inputs"] = {**kind[1].inputs, **{role: {"url": url} for role, url in sources.items()}}
        about: dict[str, Any] = {"line": number}
        if shot.id is not None:
            about["id"] = shot.id
        more: dict[str, Any] = {name: value for name in ("name", "metadata") if (value := getattr(shot, name))}
        seed = None if shot.seed in (None, -1) else shot.seed
        for take, job_id in enumerate(jobs):
            chosen = secrets.randbelow(SEEDS) if seed is None else (seed + take) % (MAX_SEED + 1)
            told = about if takes == 1 else {**about, "take": take + 1}
            self.plan.add(
                kind,
                job_id,
                line=number,
                take=take,
                spec={**spec, "seed": chosen},
                more={**more, "shot": told},
                orphan_runs=orphan_runs,
            )
        if shot.id is not None or shot.after or shot.start_from is not None:
            first = None if shot.start_from is None else parent_shot(shot.start_from)
            self.chains.add(ChainShot(number, jobs, tuple(shot.after), first), shot.id, self.faults)


def _told(error: RequestError) -> list[tuple[str | None, str]]:
    if isinstance(error, own.InvalidBody):
        return [(name or None, detail) for name, detail in error.errors]
    return [(error.field, error.detail)]


def _split(raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str], bytes]:
    """(own part, addresses by role, mark of the rest)."""
    own_part: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in raw.items():
        (own_part if name in _OWN_NAMES else rest)[name] = value
    sources = {}
    for role in ROLES:
        given = rest.get(role)
        if isinstance(given, str) and given[:5].lower() != "data:":
            sources[role] = given
            rest[role] = given.partition("://")[0].lower()
    rest["start_from"] = own_part.get("start_from") is not None
    return own_part, sources, to_json(rest)


def _started(asked: BatchShot, draft: Draft) -> Draft:
    """A draft whose first frame comes from a job that is not known yet."""
    if _FIRST in draft.inputs:
        raise draft.refused("start_from", "the shot has an image already; leave one of them out")
    if asked.if_parent_fails == "run":
        raise draft.refused("if_parent_fails", "the shot needs its first frame: write fail, or leave it out")
    return replace(draft, inputs={**draft.inputs, _FIRST: Source(last_frame_of=new_job_id())})
