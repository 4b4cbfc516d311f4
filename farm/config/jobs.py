"""Settings of a job's life: leases, retries, queues, pools, prices."""

from pydantic import Field

from farm.config.section import Section


class LeaseSettings(Section):
    """Three clocks watch an attempt: heartbeat (process gone), progress (stuck), wall time (runaway)."""

    #: an attempt's right to write ends this long after its last heartbeat; the agent beats at a third of it
    seconds: float = 45.0
    #: no progress for this long: the engine is stuck, it is killed and the attempt fails
    stuck_s: float = 600.0
    #: a render may take this many times its predicted seconds, and never less than wall_min_s
    wall_factor: float = 10.0
    wall_min_s: float = 1800.0
    max_attempts: int = 3
    #: attempts that may take their worker down before the job is called poisonous
    poison_losses: int = 2
    #: first retry after this long, then doubled
    backoff_s: float = 2.0
    backoff_max_s: float = 300.0
    #: a cancelled engine has this long to stop before it is killed
    cancel_grace_s: float = 30.0


class SchedulingSettings(Section):
    """In which order jobs are claimed, how long they are kept, and limits of tenants."""

    #: within a tenant, the loaded lane may be preferred among this many of the first jobs
    affinity_window: int = 16
    #: and a job may be passed over this many times; more often where more than three renders of its tenant are under
    #: way, in proportion
    affinity_passes: int = 24
    #: a worker goes on with its loaded model for a tenant whose turn is near, while the one whose turn it is is owed no
    #: more GPU-seconds than this: a switch would cost two loads, one of them on the way back. More where more than
    #: three of its renders are under way, in proportion. 0: never
    affinity_slack_s: float = Field(default=540.0, ge=0)
    #: an economy job that names no deadline is to be finished in this time
    economy_window_s: float = Field(default=86_400.0, gt=0)
    #: it becomes a normal one so long (at most a quarter of its window), and its own render, before its window ends
    economy_rise_s: float = Field(default=3600.0, ge=0)
    #: a job that failed on one worker is left to the pool's other live workers for this long
    elsewhere_s: float = 600.0
    #: an unclaimed permit is replaced after this long
    permit_ttl_s: float = 10.0
    #: how often beat reaps and audits
    reap_every_s: float = 2.0
    audit_every_s: float = 30.0
    #: how often the queues are run forward, for the times that jobs are shown
    forecast_every_s: float = 5.0
    #: first guess of a pool's speed until it is measured, TFLOP/s
    assumed_tflops: float = 300.0
    #: jobs of one tenant that are not over, where the tenant has no limit of its own
    max_open: int = Field(default=200_000, ge=1)
    #: finished jobs are kept this long
    retention_s: float = 30 * 86400.0
    #: how often beat removes what is older, and objects that no job points to
    forget_every_s: float = 600.0


class PoolSettings(Section):
    """What is known of a pool before its workers say so themselves."""

    #: models that it serves even while no worker is up: jobs for them are accepted and wait
    models: tuple[str, ...] = ()
    #: speed of one of its GPUs, TFLOP/s, until it is measured; None: scheduling.assumed_tflops
    tflops: float | None = Field(None, gt=0)
    #: part of its slots that is kept for tenants below their share: h while one tenant wants the pool, h^2 while two
    #: do, and so on. What is kept idles meanwhile. 0: nothing is kept
    headroom: float = Field(0.0, ge=0, lt=1)


class PriceSettings(Section):
    """The price book: what a second of video costs a tenant with a credit account. What has no price is refused."""

    #: catalog id -> resolution word -> credits per second of video
    per_second: dict[str, dict[str, float]] = Field(
        default_factory=lambda: {
            # what is charged for the same models elsewhere
            "wan2.2-animate-14b": {"480p": 6.0, "580p": 9.5, "720p": 12.5},
            "wan2.2-t2v-a14b-4step": {"480p": 8.0, "580p": 12.0, "720p": 16.0},
            "wan2.2-i2v-a14b-4step": {"480p": 8.0, "580p": 12.0, "720p": 16.0},
        }
    )
    #: US dollars of one credit, for dialects that tell costs in dollars
    credit_usd: float = Field(default=0.005, gt=0)


class ModelDefaults(Section):
    """What a dialect without a model field means. Empty: the first offered model that does the task."""

    t2v: str | None = None
    i2v: str | None = None
