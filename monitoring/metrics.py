"""Every metric of the farm, defined once, with the roles whose processes export it. Names say their unit; labels are
few and bounded (never a job or a tenant's own words). Counting is the callers' business."""

from monitoring.roles import ProcessRole, counter, gauge, histogram, register

_CLAIMS = (ProcessRole.AGENT, ProcessRole.IO_WORKER, ProcessRole.BURST)
_BURST = (ProcessRole.BURST,)
_AGENT, _IO, _GATEWAY = (ProcessRole.AGENT,), (ProcessRole.IO_WORKER,), (ProcessRole.GATEWAY,)

# --- batches
BATCH_SHOTS = counter(
    "wanfarm_batch_jobs_admitted_total", "Jobs that came in as parts of batches", roles=(*_GATEWAY, *_IO)
)

# --- permits
PERMITS = counter(
    "wanfarm_permits_total", "Wake-ups by what became of them", ["pool", "outcome"], roles=tuple(ProcessRole)
)

# --- the agent: attempts at jobs
ATTEMPTS = counter(
    "wanfarm_attempts_total", "Attempts that this process ended, by ending", ["pool", "ending"], roles=_CLAIMS
)
HEARTBEAT_FAILURES = counter("wanfarm_heartbeat_failures_total", "Heartbeats that got no answer", roles=_CLAIMS)
LEASES_LOST = counter("wanfarm_leases_lost_total", "Attempts whose lease had gone to somebody else", roles=_AGENT)
ENGINE_STARTS = counter("wanfarm_engine_starts_total", "Engines started, by result", ["result"], roles=_AGENT)
ENGINE_KILLS = counter(
    "wanfarm_engine_kills_total", "Engines killed by their agent, by reason", ["reason"], roles=_AGENT
)
ENGINE_UP = gauge("wanfarm_engine_up", "1 while the engine can take a job", roles=_AGENT)
XIDS = counter(
    "wanfarm_xids_total",
    "Errors that the driver reported (Xids), by number and by whose they are: device, program, note",
    ["xid", "kind"],
    roles=_AGENT,
)
STRIKES = counter("wanfarm_device_strikes_total", "Jobs that failed on the device, by fault", ["code"], roles=_AGENT)
QUARANTINED = gauge("wanfarm_device_quarantined", "1 while the device is out of service", roles=_AGENT)
PREPARE_SECONDS = histogram(
    "wanfarm_prepare_seconds",
    "Claim to inputs and LoRAs on the worker's disk",
    buckets=(0.01, 0.05, 0.2, 0.5, 1, 2, 5, 15, 60),
    roles=_AGENT,
)
CLAIM_TO_RENDER_SECONDS = histogram(
    "wanfarm_claim_to_render_seconds",
    "Claim to the engine at work",
    buckets=(0.01, 0.05, 0.2, 0.5, 1, 2, 5, 15, 60),
    roles=_AGENT,
)
RENDER_SECONDS = histogram(
    "wanfarm_render_seconds",
    "Time that an engine took",
    ["lane"],
    buckets=(0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1800),
    roles=_AGENT,
)
UPLOAD_SECONDS = histogram(
    "wanfarm_upload_seconds",
    "Result uploaded and verified",
    buckets=(0.05, 0.2, 0.5, 1, 2, 5, 15, 60, 300),
    roles=_AGENT,
)

# --- burst: jobs that are bought
BURST_DECISIONS = counter(
    "wanfarm_burst_decisions_total",
    "What was decided about jobs that would wait too long: bought, would_buy, waits, parked, stays",
    ["verdict"],
    roles=_BURST,
)
PROVIDER_SUBMISSIONS = counter(
    "wanfarm_provider_submissions_total",
    "Orders by what became of them: placed, refused, not_sent, unknown",
    ["provider", "outcome"],
    roles=_BURST,
)
PROVIDER_POLLS = counter(
    "wanfarm_provider_polls_total",
    "Questions about bought jobs: read, missed, unknown_job, unknown_word (a status that no document has)",
    ["provider", "outcome"],
    roles=_BURST,
)
PURCHASES = counter(
    "wanfarm_purchases_total",
    "Purchases by what became of them",
    ["provider", "ending"],
    roles=_BURST,
)

# --- the agent: what jobs were promised
QUEUE_WAIT_SECONDS = histogram(
    "wanfarm_queue_wait_seconds",
    "Queued to the first attempt",
    ["pool"],
    buckets=(0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400),
    roles=_AGENT,
)
PREDICTION_RATIO = histogram(
    "wanfarm_render_prediction_ratio",
    "Seconds on the device against the seconds that were predicted; below 1 the render was faster",
    ["pool"],
    buckets=(0.1, 0.25, 0.5, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10),
    roles=_AGENT,
)
DEADLINES = counter(
    "wanfarm_deadlines_total", "Results of jobs with a deadline: met or missed", ["pool", "outcome"], roles=_AGENT
)

# --- housekeeping (io worker)
REAPED = counter("wanfarm_reaped_total", "What the reaper did", ["action"], roles=_IO)
FORGOTTEN = counter("wanfarm_forgotten_jobs_total", "Jobs removed after their retention", roles=_IO)
ORPHANS = counter("wanfarm_orphan_objects_total", "Objects removed that no job pointed to", roles=_IO)

FORECAST_RATIO = histogram(
    "wanfarm_forecast_ratio",
    "What a queued job took until it started or ended, over what was predicted",
    ["what"],
    buckets=(0.1, 0.25, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.6, 2, 4, 10),
    roles=_IO,
)

# --- webhooks (io worker)
WEBHOOKS = counter(
    "wanfarm_webhooks_total", "Posts to receivers by what became of them", ["dialect", "outcome"], roles=_IO
)

# --- the gateway
HTTP_REQUESTS = counter(
    "wanfarm_http_requests_total", "Requests answered", ["route", "method", "status"], roles=_GATEWAY
)
HTTP_SECONDS = histogram(
    "wanfarm_http_request_seconds",
    "Request read to answer ready (event streams: to their first byte)",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30),
    roles=_GATEWAY,
)
HTTP_REFUSED = counter(
    "wanfarm_http_refused_total", "Requests refused before a thread was spent", ["status"], roles=_GATEWAY
)
CONNECTIONS_CLOSED = counter(
    "wanfarm_connections_closed_total", "Connections that the gateway ended", ["reason"], roles=_GATEWAY
)
STREAMS = gauge("wanfarm_event_streams", "Event streams open", multiprocess_mode="livesum", roles=_GATEWAY)


def export(role: ProcessRole) -> None:
    """This process is of that role: it exports the role's metrics from here on, and no others."""
    register(role)
