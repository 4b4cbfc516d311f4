"""What the tests of batches in the ledger share: a batch of equal jobs, staged and admitted step by step."""

from collections.abc import Sequence

from ledger_parts import new_job

from farm.jobs.batch import NewBatch
from farm.jobs.ids import new_job_id
from farm.jobs.states import HoldReason
from farm.ledger import Ledger
from farm.ledger.batch_chunks import ChunkWriter, JobKind


class Manifest:
    """`parents`: number of a job -> numbers of those that it follows."""

    def __init__(
        self,
        jobs: int,
        tenant: str = "acme",
        *,
        name: str = "batch_" + "0" * 32,
        per_chunk: int = 3,
        parents: dict[int, Sequence[int]] | None = None,
        orphans_run: bool = False,
        held: HoldReason | None = None,
        **changes: object,
    ) -> None:
        self.id, self.tenant, self.jobs = name, tenant, [new_job_id() for _ in range(jobs)]
        self.like = new_job(tenant, **changes)
        kind, self.chunks = JobKind.of(self.like), list[str]()
        writer = ChunkWriter()
        for n, job_id in enumerate(self.jobs):
            follows = [self.jobs[parent] for parent in (parents or {}).get(n, ())]
            body = kind.body({"prompt": f"shot {n}", "seed": n}, {"shot": {"line": n + 1}})
            writer.add(kind, job_id, body, parents=follows, orphan_runs=orphans_run, held_for=held)
            if writer.weight >= per_chunk:
                self.chunks.append(writer.take())
        if len(writer):
            self.chunks.append(writer.take())

    def new(self, *, key: str | None = None, sha: str = "sha") -> NewBatch:
        hold = self.like.hold
        return NewBatch(
            id=self.id,
            tenant=self.tenant,
            jobs=len(self.jobs),
            hold=len(self.jobs) * (hold or 0),
            priced=hold is not None,
            gpu_s=len(self.jobs) * self.like.predicted_s,
            idempotency_key=key,
            body_sha256=sha,
        )

    def stage(self, ledger: Ledger, most: int | None = None) -> None:
        """Begin, and stage all chunks or the first `most`."""
        assert ledger.begin_batch(self.new()) == self.id
        for number, chunk in enumerate(self.chunks[:most], 1):
            assert ledger.stage_chunk(self.id, number, chunk)

    def flip(self, ledger: Ledger) -> str:
        """Admit it, where all chunks were staged."""
        return ledger.flip_batch(self.id, len(self.chunks))

    def place(self, ledger: Ledger) -> None:
        while ledger.place_chunk(self.id)[0]:
            pass

    def admit(self, ledger: Ledger) -> "Manifest":
        self.stage(ledger)
        assert self.flip(ledger) == self.id
        self.place(ledger)
        return self
