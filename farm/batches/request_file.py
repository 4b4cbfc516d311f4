"""A file of requests, as OpenAI's batches have it, becomes a plan: each line has an id of its own, a method, an address
and a body."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, BinaryIO

from pydantic_core import to_json

from farm.batches import manifest
from farm.batches.addresses import Addresses
from farm.batches.faults import ManifestFaults
from farm.batches.plan_file import PlanFile
from farm.config import Settings
from farm.jobs.draft import Draft
from farm.jobs.errors import InvalidRequest, RequestError
from farm.jobs.ids import new_job_id
from farm.jobs.states import Tier
from farm.ledger.batch_chunks import JobKind
from farm.submission import limits
from farm.submission.provider_drafts import completed, with_own_uploads
from farm.submission.submit import SEEDS, Submissions
from farm.wire import openai, own
from farm.wire.openai_batches import MAX_CUSTOM_ID, VIDEOS

_WORDS = manifest.LineWords(
    "request", '{"custom_id": "shot-1", "method": "POST", "url": "/v1/videos", "body": {"prompt": "a fox"}}'
)
_FIELDS = frozenset({"custom_id", "method", "url", "body"})
#: what changes neither shape nor price nor lane
_OWN = ("prompt", "seed")


class RequestFile:
    """One per file. `endpoint`: the address of every request; the jobs run where nothing normal can, until
    `deadline_ms`."""

    def __init__(
        self, settings: Settings, submissions: Submissions, tenant: str, endpoint: str, deadline_ms: int
    ) -> None:
        self._limits, self._submissions, self._tenant = settings.batches, submissions, tenant
        self._endpoint, self._deadline_ms, self._s3 = endpoint, deadline_ms, settings.s3
        self._addresses = Addresses(submissions.intake, tenant, settings.intake.connect_s)
        self._seen: dict[str, int] = {}
        self._now_ms = int(time.time() * 1000)
        self.faults, self.plan = ManifestFaults(), PlanFile()

    def read(self, file: BinaryIO) -> PlanFile:
        """The plan of the whole file, which is the caller's to close. Raises BadManifest; Unavailable."""
        try:
            for number, line in self._lines(file):
                self._line(number, line)
            self.faults.check()
        except BaseException:
            self.plan.close()
            raise
        return self.plan

    def _lines(self, file: BinaryIO) -> Iterator[manifest.Line]:
        most = self._limits
        return manifest.read(
            file, manifest.NDJSON, {}, self.faults, max_line=most.max_line, max_lines=most.max_shots, words=_WORDS
        )

    def _line(self, number: int, line: dict[str, Any]) -> None:
        before = self.faults.count
        self._check_frame(number, line)
        body = line.get("body")
        if self.faults.count > before or not isinstance(body, dict):
            return
        try:
            draft = self._draft(body)
            limits.check(draft, self._now_ms)
            kind = self._kind(body, draft)
        except RequestError as error:
            for name, detail in getattr(error, "errors", None) or [(error.field, error.detail)]:
                self.faults.add(number, f"body.{name}" if name else "body", detail)
            return
        if not self.faults.count:
            seed = secrets.randbelow(SEEDS) if draft.seed is None else draft.seed
            more: dict[str, Any] = {"shot": {"line": number, "id": line["custom_id"]}}
            if data := {**kind[1].dialect_data, **draft.dialect_data}:
                more["dialect_data"] = data
            if draft.seed is not None:
                more["seed_given"] = True
            self.plan.add(
                kind, new_job_id(), line=number, take=0, spec={"prompt": draft.prompt, "seed": seed}, more=more
            )

    def _kind(self, body: dict[str, Any], draft: Draft) -> tuple[int, JobKind]:
        """That of all requests which differ in prompt and seed alone. Raises RequestError."""
        mark = to_json({name: value for name, value in body.items() if name not in _OWN})
        known = self.plan.kind(mark)
        if known is not None:
            return known
        self._addresses.check(draft)
        job = self._submissions.quoted(self._tenant, replace(draft, seed=None, dialect_data={}))
        return self.plan.add_kind(mark, JobKind.of(job))

    def _check_frame(self, number: int, line: dict[str, Any]) -> None:
        add = self.faults.add
        custom = line.get("custom_id")
        if not isinstance(custom, str) or not 1 <= len(custom) <= MAX_CUSTOM_ID:
            add(number, "custom_id", f"required: a text of at most {MAX_CUSTOM_ID} characters", "invalid_custom_id")
        elif (first := self._seen.setdefault(custom, number)) != number:
            add(number, "custom_id", f"line {first} has the same; give each request its own", "duplicate_custom_id")
        if line.get("method") != "POST":
            add(number, "method", "must be POST", "invalid_method")
        if line.get("url") != self._endpoint:
            add(number, "url", f"must be {self._endpoint}, the endpoint of the batch", "invalid_url")
        if not isinstance(line.get("body"), dict):
            add(number, "body", "required: the request as a JSON object", "invalid_body")
        for name in sorted(line.keys() - _FIELDS):
            add(number, name[:100], f"unknown; known are {', '.join(sorted(_FIELDS))}", "unknown_field")

    @cached_property
    def _offered(self) -> tuple[str, ...]:
        return self._submissions.pools.offered()

    def _draft(self, body: dict[str, Any]) -> Draft:
        if self._endpoint == VIDEOS:
            # as POST /v1/videos takes it
            draft = with_own_uploads(openai.parse_create(body), self._s3, self._tenant)
            draft = completed(draft, self._offered)
            return replace(draft, tier=Tier.ECONOMY, deadline_ms=self._deadline_ms)
        draft = own.parse_create(to_json(body))
        if body.get("tier", Tier.ECONOMY) != Tier.ECONOMY:
            raise InvalidRequest(f"must be {Tier.ECONOMY} or left out: of such a batch all requests are", "tier")
        if draft.deadline_ms is not None and draft.deadline_ms > self._deadline_ms:
            raise InvalidRequest("is after the end of the batch's completion_window; name an earlier one", "deadline")
        return replace(draft, tier=Tier.ECONOMY, deadline_ms=draft.deadline_ms or self._deadline_ms)
