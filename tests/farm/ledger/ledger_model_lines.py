"""The lines of the model: who stands in which, whose turn it is, what a limit keeps back, what time changes."""

from dataclasses import dataclass, field

from farm.jobs.errors import FaultCode
from farm.jobs.job import NewJob
from farm.jobs.states import TERMINAL, HoldReason, State, Tier
from farm.ledger import BURST_POOL, INTAKE_POOL

AFFINITY_WINDOW, AFFINITY_PASSES = 4, 2
#: GPU-seconds; no sum of what the test charges, so that no rounding decides
AFFINITY_SLACK_S = 17.3
#: both are those of a tenant with so many renders under way, and grow with more
REACH_ONE = 3
#: after its admission: a job's start-by time, and the end of an economy job's window and when it becomes a normal one
START_BY_S, WINDOW_S, RISES_S = 55.0, 230.0, 194.0


@dataclass
class ModelJob:
    """`at`: "queue", "delayed", "held", "lease", or None when it is over."""

    new: NewJob
    state: State
    at: str | None = "queue"
    ready_at: float = 0.0
    lease_until: float = 0.0
    graced: bool = False
    attempt: int = 0
    used: int = 0
    losses: int = 0
    passes: int = 0
    cancelling: bool = False
    ended: int | None = None
    intake_done: int | None = None
    charged_s: float | None = None
    unheard: int = 0
    lifted: float = 0.0
    error: str | None = None
    held_for: set[HoldReason] = field(default_factory=set)
    bought: bool = False
    nonce: str | None = None
    buy_attempt: int = 0
    provider_id: str | None = None
    #: its phase is one of a provider's
    at_provider: bool = False
    tier: Tier = Tier.NORMAL
    started: bool = False
    start_by: float | None = None
    rises: float | None = None
    expires: float | None = None
    #: it is being cancelled because its window is past
    late: bool = False

    def admitted(self, now: float) -> None:
        if self.new.start_by_ms is not None:
            self.start_by = now + START_BY_S
        if self.tier is Tier.ECONOMY:
            self.rises, self.expires = now + RISES_S, now + WINDOW_S

    @property
    def pool(self) -> str:
        if self.bought and self.state is State.RUNNING:
            return BURST_POOL
        return INTAKE_POOL if self.state is State.WAITING else self.new.pool

    @property
    def line(self) -> str:
        return line_of(self.pool, self.tier)

    @property
    def busy(self) -> bool:
        return self.at == "lease" and self.state is State.RUNNING and not self.bought

    @property
    def key(self) -> tuple[int, float, str]:
        """Its place in the queue of its tenant."""
        return (-self.new.priority, float("inf") if self.new.deadline_ms is None else self.new.deadline_ms, self.new.id)

    @property
    def stopped(self) -> bool:
        """Whether a reason keeps it from starting."""
        if self.state is State.WAITING:
            return HoldReason.DEPENDENCY in self.held_for
        return self.state is State.QUEUED and bool(self.held_for)

    def holds(self, attempt: int) -> bool:
        return self.at == "lease" and self.attempt == attempt


def line_of(pool: str, tier: Tier) -> str:
    return pool if tier is Tier.NORMAL else f"{pool}!{tier}"


@dataclass
class Share:
    """Virtual times of one line, who stands in it, and whom a limit keeps from it."""

    own: dict[str, float] = field(default_factory=dict)
    lifted: dict[str, float] = field(default_factory=dict)
    open: dict[str, float] = field(default_factory=dict)
    clock: float = 0.0
    members: set[str] = field(default_factory=set)
    aside: set[str] = field(default_factory=set)


class Lines:
    """The half of the Model that says who is next."""

    now: float
    weights: dict[str, float]
    jobs: dict[str, ModelJob]
    shares: dict[str, Share]

    def __init__(self) -> None:
        #: of a tenant: jobs at work in all pools, and in one
        self.caps: dict[str, int] = {}
        self.pool_caps: dict[tuple[str, str], int] = {}
        self.paused: set[tuple[str, str]] = set()

    def _end(self, job: ModelJob, state: State, error: FaultCode | None = None) -> None:
        raise NotImplementedError

    def _first(self, pool: str, tier: Tier, loaded: str | None) -> ModelJob | None:
        """The job of this line to be claimed; those that waited too long end on the way."""
        line = line_of(pool, tier)
        share = self.shares.setdefault(line, Share())
        while standing := [tenant for tenant in share.members if self._stands(line, tenant)]:
            tenant = min(standing, key=lambda tenant: (share.own[tenant], tenant))
            if self._limited(pool, tier, tenant):
                share.members.discard(tenant)
                share.aside.add(tenant)
                continue
            queue = sorted(self._queued(line, tenant), key=lambda job: job.key)
            if not self._overdue(queue[0]):
                if last := self._last_ones(share, line, queue[0], loaded):
                    return last
                own = self._preferred(queue, loaded)
                return self._near_turn(share, line, queue[0], loaded) or own if own.new.lane != loaded else own
            queue[0].late = True
            self._end(queue[0], State.CANCELLED)
        return None

    def _queued(self, line: str, tenant: str) -> list[ModelJob]:
        return [
            job for job in self.jobs.values() if job.at == "queue" and job.line == line and job.new.tenant == tenant
        ]

    def _stands(self, line: str, tenant: str) -> bool:
        return line in self.shares and tenant in self.shares[line].members and bool(self._queued(line, tenant))

    def _limited(self, pool: str, tier: Tier, tenant: str) -> bool:
        if pool in (INTAKE_POOL, BURST_POOL):
            return False
        busy = [job.pool for job in self.jobs.values() if job.busy and job.new.tenant == tenant]
        if ("tenant", tenant) in self.paused:
            return True
        most, most_here = self.caps.get(tenant, 99), self.pool_caps.get((tenant, pool), 99)
        return tier is not Tier.URGENT and (len(busy) >= most or busy.count(pool) >= most_here)

    def _enter(self, line: str, tenant: str) -> None:
        share = self.shares.setdefault(line, Share())
        pool, _, tier = line.partition("!")
        if self._limited(pool, Tier(tier or "normal"), tenant):
            share.members.discard(tenant)
            share.aside.add(tenant)
            return
        share.aside.discard(tenant)
        share.members.add(tenant)
        own = share.own.setdefault(tenant, 0.0)
        if own < share.clock:
            share.lifted[tenant] = share.lifted.get(tenant, 0.0) + share.clock - own
            share.own[tenant] = share.clock

    def _review(self, tenant: str) -> None:
        """What a limit kept back is asked again."""
        for line, share in self.shares.items():
            pool, _, tier = line.partition("!")
            if tenant in share.aside and not self._limited(pool, Tier(tier or "normal"), tenant):
                share.aside.discard(tenant)
                if self._queued(line, tenant):
                    self._enter(line, tenant)

    def _overdue(self, job: ModelJob) -> bool:
        unstarted = job.start_by is not None and not job.started and self.now >= job.start_by
        return job.state is not State.RUNNING and (unstarted or (job.expires is not None and self.now >= job.expires))

    def _see_to_what_is_due(self) -> None:
        for job in self.jobs.values():
            if job.state in TERMINAL:
                continue
            if self._overdue(job):
                job.late = True
                self._end(job, State.CANCELLED)
            elif job.state is State.RUNNING and job.expires is not None and self.now >= job.expires:
                job.late = job.late or not job.cancelling
                job.cancelling = True
            if job.at == "queue" and job.tier is Tier.ECONOMY and job.rises is not None and self.now >= job.rises:
                self._queue(job)

    def _attempt_end(self, job: ModelJob, gpu_s: float) -> None:
        self._correct(job, gpu_s)
        if job.busy:
            job.at = None
            self._review(job.new.tenant)

    def _queue(self, job: ModelJob) -> None:
        job.at, job.ready_at = None, 0.0
        if job.stopped:
            job.at = "held"
            return
        if job.tier is Tier.ECONOMY and job.rises is not None and self.now >= job.rises:
            job.tier = Tier.NORMAL
        standing = self._stands(job.line, job.new.tenant)
        job.at = "queue"
        if not standing:
            self._enter(job.line, job.new.tenant)

    def _promote(self, pool: str, limit: int) -> None:
        due = [j for j in self.jobs.values() if j.at == "delayed" and j.pool == pool and j.ready_at <= self.now]
        for job in sorted(due, key=lambda job: (job.ready_at, job.new.id))[:limit]:
            self._queue(job)

    def _preferred(self, queue: list[ModelJob], loaded: str | None) -> ModelJob:
        first = queue[0]
        passed: list[ModelJob] = []
        if loaded is None or first.new.lane == loaded:
            return first
        for job in queue[:AFFINITY_WINDOW]:
            if job.new.priority != first.new.priority:
                return first
            if job.new.lane == loaded and self._overdue(job):
                return first
            if job.new.lane == loaded:
                for other in passed:
                    other.passes += 1
                return job
            if self._passed_enough(job):
                return first
            passed.append(job)
        return first

    def _reach(self, first: ModelJob) -> float:
        tenant, pool = first.new.tenant, first.pool
        busy = sum(job.busy and job.new.tenant == tenant and job.pool == pool for job in self.jobs.values())
        return max(1.0, busy / REACH_ONE)

    def _passed_enough(self, job: ModelJob) -> bool:
        return job.passes + 1 > AFFINITY_PASSES * self._reach(job)

    def _near(self, share: Share, line: str, first: ModelJob) -> list[str]:
        """Tenants whose turn has come or is near, in that order."""
        pool, _, tier = line.partition("!")
        latest = share.own[first.new.tenant] + AFFINITY_SLACK_S * self._reach(first) / self.weights[first.new.tenant]
        return [
            tenant
            for tenant in sorted(share.members, key=lambda tenant: (share.own[tenant], tenant))
            if self._stands(line, tenant)
            and share.own[tenant] <= latest
            and (tenant == first.new.tenant or not self._limited(pool, Tier(tier or "normal"), tenant))
        ]

    def _last_ones(self, share: Share, line: str, first: ModelJob, loaded: str | None) -> ModelJob | None:
        """Where no more jobs wait than run: the longest of them, of the loaded lane if there is one."""
        economy = line_of(first.pool, Tier.ECONOMY)
        if first.pool in (INTAKE_POOL, BURST_POOL) or first.passes + 1 > min(4, AFFINITY_PASSES) * self._reach(first):
            return None
        if line != economy and self.shares.get(economy, Share()).members:
            return None
        waiting = [job for tenant in share.members for job in self._queued(line, tenant)]
        leased = [job for job in self.jobs.values() if job.at == "lease" and job.pool == first.pool]
        if len(waiting) == 1 or len(waiting) > len(leased) + 1:
            return None
        near = []
        for tenant in self._near(share, line, first):
            queue = sorted(self._queued(line, tenant), key=lambda job: job.key)
            near += [job for job in queue if job.key[:2] == queue[0].key[:2]]
        best = max(near, key=lambda job: (job.new.lane == loaded, job.new.predicted_s))
        if best is first or self._overdue(best):
            return first if best is first else None
        first.passes += 1
        return best

    def _near_turn(self, share: Share, line: str, first: ModelJob, loaded: str | None) -> ModelJob | None:
        """The job that keeps the loaded lane: of a tenant whose turn is near. It may pass over the first so often."""
        if loaded is None or self._passed_enough(first):
            return None
        for tenant in self._near(share, line, first):
            head = min(self._queued(line, tenant), key=lambda job: job.key)
            if tenant != first.new.tenant and head.new.lane == loaded and not self._overdue(head):
                first.passes += 1
                return head
        return None

    def _correct(self, job: ModelJob, gpu_s: float) -> None:
        if job.charged_s is None:
            return
        if job.state is State.WAITING:
            job.charged_s = None
            return
        share, tenant = self.shares[line_of(job.new.pool, job.tier)], job.new.tenant
        correction = (gpu_s - job.charged_s) / self.weights[tenant]
        share.open[tenant], job.charged_s = share.open[tenant] - job.charged_s, None
        lifted = share.lifted.get(tenant, 0.0) - job.lifted
        share.own[tenant] += max(0.0, correction - lifted) if lifted > 1e-9 else correction
