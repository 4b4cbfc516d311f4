"""Housekeeping of the ledger: reap, audit, forget. Beat calls them; any number may run at once."""

from collections import Counter
from typing import cast

from farm.jobs.job import Job
from farm.ledger.connection import mapped
from farm.ledger.outcomes import AuditReport, ReapReport
from farm.ledger.purchase_audit import PURCHASES, PurchaseAudit
from farm.ledger.records import decode
from farm.ledger.workforce import permits

#: jobs that one reap looks at: a lost one costs Redis 0.1 ms, and 0.5 ms where its tenant comes back to many lines
REAPED_AT_ONCE = 25
#: jobs that one call of an audit, and one that removes old jobs, looks at: each costs Redis some 0.05 ms
AUDITED_AT_ONCE, FORGOTTEN_AT_ONCE = 100, 100
#: records, of jobs behind others and of their parents, that one script call reads: each job may end, which takes Redis
#: 0.1 to 0.2 ms
CHILDREN_OF_A_CALL = 100
#: the first stages of an audit, as its cursors name them
_RECORDS, _TENANT, _BATCHES = "records", "tenant", "batches"


class Upkeep(PurchaseAudit):
    """Every call raises Unavailable, and may be repeated."""

    def reap(self, limit: int = REAPED_AT_ONCE, *, unless_s: float = 0.0) -> ReapReport:
        """Attempts whose lease ran out are retried or fail; delayed retries whose time has come are queued; missing
        permits are asked for. Every action checks again what it acts on, so several reapers are harmless. `limit`: jobs
        that it looks at, roughly. `unless_s`: does nothing if the last reap is younger than this."""
        answer = self.run("reap", limit, int(1000 * unless_s))
        expired, requeued, failed, cancelled, promoted, resumable, wanted, more = answer
        given = tuple(permits(wanted))
        return ReapReport(expired, requeued, failed, cancelled, promoted, resumable, given, bool(more))

    def see_to_children(self, limit: int = CHILDREN_OF_A_CALL) -> int:
        """Queue or fail jobs that follow one which is over, where its end left them (a reap sees to some at each of its
        turns). `limit`: records of them and of their parents that are read. How many were: 0 when no job is left."""
        return int(self.run("children", limit))

    def reaped_s_ago(self) -> float | None:
        """How long ago the last reap was; None: there was none yet."""
        last = self.last_reap()
        return None if last is None else (int(self.run("now")) - int(last)) / 1000

    def last_reap(self) -> str | None:
        """When the last reap was, to be compared with another answer; None: there was none yet."""
        with mapped():
            last = self._redis.get(self._keys("reaped"))
        return last if isinstance(last, str) else None

    def audit(self, cursor: str | None = None, limit: int = AUDITED_AT_ONCE) -> AuditReport:
        """Compare indexes and counters with the records of about `limit` jobs after `cursor` and mend them. Begin with
        None and go on with each report's cursor until that is None: first over all records, then tenant by tenant, of
        each the sum of its holds and then those of its batches, then over what purchases hold."""
        stage, _, place = (cursor or f"{_RECORDS}:0").partition(":")
        if stage == _RECORDS:
            report = self._audit_records(int(place), limit)
        elif stage in (_TENANT, _BATCHES):
            tenant, _, after = place.partition(":")
            look = self._audit_tenant if stage == _TENANT else self._audit_batches
            report = look(tenant, after, limit)
        else:
            report = self.audit_purchases(stage, int(place), limit)
        if report.drift or report.cursor is None:
            found = [part for pair in report.drift.items() for part in pair]
            self.run("audit_note", int(report.cursor is None), *found)
        return report

    def _audit_records(self, position: int, limit: int) -> AuditReport:
        with mapped():
            position, keys = cast(
                "tuple[int, list[str]]",
                self._redis.scan(position, match=self._keys("job", "*"), count=limit, _type="HASH"),
            )
        prefix = self._keys("job", "")
        ids, counts, done = [key.removeprefix(prefix) for key in keys], Counter[str](), 0
        while done < len(ids):
            looked, *drift = self.run("audit_jobs", limit, *ids[done:])
            done += looked
            counts.update(dict(zip(drift[::2], drift[1::2], strict=True)))
        return AuditReport(len(ids), dict(counts), f"{_RECORDS}:{position}" if position else self._after_tenant(""))

    def _audit_tenant(self, tenant: str, after: str, limit: int) -> AuditReport:
        last, checked, orphans, corrected = self.run("audit_tenant", tenant, after, limit)
        drift = {name: count for name, count in (("index", orphans), ("held", corrected)) if count}
        return AuditReport(checked, drift, f"{_TENANT}:{tenant}:{last}" if last else f"{_BATCHES}:{tenant}:")

    def _audit_batches(self, tenant: str, place: str, limit: int) -> AuditReport:
        """`place`: "batch after", the job of that batch behind which to go on; '' after which a new batch begins."""
        batch, _, after = place.partition(" ")
        checked, drift, end = 0, {"index": 0, "batch": 0}, False
        while checked < limit and not end:
            if not after:
                batch, end = self._batch_behind(tenant, batch)
            if not end:
                after, looked, orphans, corrected = self.run("audit_batch", tenant, batch, after, limit - checked)
                checked += 1 + looked
                drift["index"] += orphans
                drift["batch"] += corrected
        found = {name: count for name, count in drift.items() if count}
        return AuditReport(
            checked, found, self._after_tenant(tenant) if end else f"{_BATCHES}:{tenant}:{batch} {after}"
        )

    def _batch_behind(self, tenant: str, batch: str) -> tuple[str, bool]:
        """The tenant's next batch, and whether there is none."""
        with mapped():
            key, behind = self._keys("batches", tenant), f"({batch}" if batch else "-"
            found = cast("list[str]", self._redis.zrangebylex(key, behind, "+", start=0, num=1))
        return (found[0], False) if found else ("", True)

    def _after_tenant(self, tenant: str) -> str:
        with mapped():
            owners = cast("set[str]", self._redis.smembers(self._keys("owners")))
        following = min((owner for owner in owners if owner > tenant), default=None)
        return f"{_TENANT}:{following}:" if following else f"{PURCHASES}:0"

    def forget(self, before_ms: int, limit: int = FORGOTTEN_AT_ONCE) -> list[Job]:
        """Remove up to `limit` jobs that ended before `before_ms` (ms since the epoch), the oldest first; not those of
        an open batch in which jobs follow others. Returns them, so that their objects can be removed too."""
        found, skip, wanted = list[Job](), 0, limit
        while wanted > 0:
            looked, stay, forgotten = self.run("forget", before_ms, wanted, skip)
            found += [decode(answer) for answer in forgotten]
            if looked < wanted:
                break
            skip, wanted = skip + stay, limit - len(found)
        return found
