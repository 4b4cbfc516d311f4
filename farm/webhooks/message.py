"""A callback's body, in the dialect that the job came in, and the headers that sign it.

Built at every attempt, so that the addresses of the result are fresh whenever it arrives.
"""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from farm.config import Settings
from farm.jobs.job import Job
from farm.jobs.money import MICRO
from farm.jobs.states import State
from farm.ledger import Ledger
from farm.storage.store import Store
from farm.tenants import vault
from farm.tenants.vault import Vault
from farm.webhooks import signing
from farm.wire.dialects import rules_of
from farm.wire.job_report import report_of
from farm.wire.own_views import Links, view_job
from farm.wire.report import UNLIMITED, Report


@dataclass(frozen=True)
class Message:
    """A callback as it is sent."""

    body: bytes
    headers: dict[str, str]


class Messages:
    """Raises Unavailable when Redis is away."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store, secrets: Vault) -> None:
        self._settings, self._ledger, self._store, self._secrets = settings, ledger, store, secrets

    def of(self, job: Job, message_id: str) -> Message:
        """`message_id` is the same at every attempt: a receiver knows a repetition by it."""
        body = self._body(job)
        now_s = int(time.time())
        headers = {"Content-Type": "application/json"}
        headers |= signing.headers(self.signing_secrets(job.tenant), message_id, now_s, body)
        own = rules_of(job.dialect).callback_key
        if own is not None and (key := self._secrets.get(job.tenant, own.secret)):
            headers |= own.sign(key, self._report(job).id, now_s)
        return Message(body, headers)

    def signing_secrets(self, tenant: str) -> list[str]:
        """The tenant's secret, made when it is first needed, and the one before it while that is kept."""
        current = self._secrets.get_or_make(tenant, vault.WEBHOOK, signing.new_secret())
        before = self._secrets.get(tenant, vault.WEBHOOK_BEFORE)
        return [current, before] if before else [current]

    def _body(self, job: Job) -> bytes:
        if (render := rules_of(job.dialect).render_callback) is not None:
            return json.dumps(render(self._report(job)), ensure_ascii=False).encode()
        event = {
            "type": f"job.{job.state}",
            "timestamp": datetime.fromtimestamp((job.finished_ms or job.created_ms) / 1000, UTC).isoformat(),
            "data": view_job(job, links=self._links(job)).model_dump(mode="json"),
        }
        return json.dumps(event, ensure_ascii=False).encode()

    def _report(self, job: Job) -> Report:
        account = self._ledger.credit(job.tenant)
        left = UNLIMITED * MICRO if account is None else account.available
        return report_of(job, self._sign, credit_usd=self._settings.prices.credit_usd, credits_left_micro=left)

    def _links(self, job: Job) -> Links | None:
        files = job.artifacts
        if files is None or job.state is not State.SUCCEEDED:
            return None
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=self._settings.s3.provider_url_ttl_s)
        return Links(self._sign(files.video), self._sign(files.poster), self._sign(files.recipe), until)

    def _sign(self, key: str) -> str:
        return self._store.presign_get(key, ttl_s=self._settings.s3.provider_url_ttl_s)
