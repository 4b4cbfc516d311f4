"""Every metric of the farm, defined once. Names say their unit; labels are few and bounded (never a job or a tenant's
own words). Counting is the callers' business."""

from prometheus_client import Counter, Gauge, Histogram

# --- permits
PERMITS = Counter("wanfarm_permits_total", "Wake-ups by what became of them", ["pool", "outcome"])

# --- the agent: attempts at jobs
ATTEMPTS = Counter("wanfarm_attempts_total", "Attempts that this process ended, by ending", ["pool", "ending"])
HEARTBEAT_FAILURES = Counter("wanfarm_heartbeat_failures_total", "Heartbeats that got no answer")
LEASES_LOST = Counter("wanfarm_leases_lost_total", "Attempts whose lease had gone to somebody else")
ENGINE_STARTS = Counter("wanfarm_engine_starts_total", "Engines started, by result", ["result"])
ENGINE_KILLS = Counter("wanfarm_engine_kills_total", "Engines killed by their agent, by reason", ["reason"])
ENGINE_UP = Gauge("wanfarm_engine_up", "1 while the engine can take a job")
STRIKES = Counter("wanfarm_device_strikes_total", "Jobs that failed on the device, by fault", ["code"])
QUARANTINED = Gauge("wanfarm_device_quarantined", "1 while the device is out of service")
PREPARE_SECONDS = Histogram(
    "wanfarm_prepare_seconds",
    "Claim to inputs and LoRAs on the worker's disk",
    buckets=(0.01, 0.05, 0.2, 0.5, 1, 2, 5, 15, 60),
)
CLAIM_TO_RENDER_SECONDS = Histogram(
    "wanfarm_claim_to_render_seconds", "Claim to the engine at work", buckets=(0.01, 0.05, 0.2, 0.5, 1, 2, 5, 15, 60)
)
RENDER_SECONDS = Histogram(
    "wanfarm_render_seconds", "Time that an engine took", ["lane"], buckets=(0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1800)
)
UPLOAD_SECONDS = Histogram(
    "wanfarm_upload_seconds", "Result uploaded and verified", buckets=(0.05, 0.2, 0.5, 1, 2, 5, 15, 60, 300)
)

# --- keeping house (io worker)
REAPED = Counter("wanfarm_reaped_total", "What the reaper did", ["action"])
AUDIT_DRIFT = Counter("wanfarm_audit_drift_total", "Counters that the audit found wrong and mended", ["counter"])
FORGOTTEN = Counter("wanfarm_forgotten_jobs_total", "Jobs removed after their retention")
ORPHANS = Counter("wanfarm_orphan_objects_total", "Objects removed that no job pointed to")

# --- webhooks (io worker)
WEBHOOKS = Counter("wanfarm_webhooks_total", "Posts to receivers by what became of them", ["dialect", "outcome"])

# --- the gateway
HTTP_REQUESTS = Counter("wanfarm_http_requests_total", "Requests answered", ["route", "method", "status"])
HTTP_SECONDS = Histogram(
    "wanfarm_http_request_seconds",
    "Request read to answer ready (event streams: to their first byte)",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30),
)
HTTP_REFUSED = Counter("wanfarm_http_refused_total", "Requests refused before a thread was spent", ["status"])
CONNECTIONS_CLOSED = Counter("wanfarm_connections_closed_total", "Connections that the gateway ended", ["reason"])
STREAMS = Gauge("wanfarm_event_streams", "Event streams open", multiprocess_mode="livesum")
#: read from the ledger whenever somebody scrapes a gateway: name, help, label
JOBS = ("wanfarm_jobs", "Jobs kept, by state", "state")
QUARANTINED_WORKERS = ("wanfarm_quarantined_workers", "Live workers that are out of service, by pool", "pool")
WORKERS = ("wanfarm_workers", "Live workers, by pool", "pool")
