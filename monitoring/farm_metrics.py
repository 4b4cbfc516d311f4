"""Metrics of the whole farm, which one process shows: the exporter, which reads them at each scrape."""

from monitoring.read_metrics import ReadMetric

_POOL, _TENANT, _SHARE = ("pool",), ("tenant",), ("pool", "tenant")

JOBS = ReadMetric("wanfarm_jobs", "Jobs kept, by state", ("state",))
HELD_JOBS = ReadMetric(
    "wanfarm_held_jobs", "Open jobs that are not to start yet, by reason; one may have two", ("reason",)
)

BATCHES = ReadMetric(
    "wanfarm_batches", "Batches that are not over: asked for by a file, coming in, or open", ("stage",)
)
BATCH_JOBS = ReadMetric("wanfarm_batch_jobs", "Jobs of open batches, by state", ("state",))
BATCH_ACTS = ReadMetric("wanfarm_batch_acts_open", "Acts on many jobs of a batch that are under way")

QUEUED = ReadMetric("wanfarm_queue_jobs", "Jobs that a worker of the pool could claim now", _POOL)
QUEUED_SECONDS = ReadMetric(
    "wanfarm_queue_predicted_gpu_seconds",
    "GPU-seconds predicted for the queued jobs",
    _POOL,
)
OLDEST_SECONDS = ReadMetric(
    "wanfarm_queue_oldest_age_seconds", "How long the job waits that has waited longest; 0 for an empty queue", _POOL
)
WAIT_SECONDS = ReadMetric(
    "wanfarm_queue_predicted_wait_seconds",
    "When all that is queued will have been started; none without a worker",
    _POOL,
)
DELAYED = ReadMetric("wanfarm_delayed_jobs", "Jobs that wait for their next try", _POOL)
POOL_HELD = ReadMetric(
    "wanfarm_pool_held_jobs", "Jobs of the pool that wait for a reason to go, not for a worker", _POOL
)
LEASES = ReadMetric("wanfarm_leases", "Attempts that hold a lease", _POOL)
PERMITS_OPEN = ReadMetric("wanfarm_open_permits", "Wake-ups on their way", _POOL)
SLOTS = ReadMetric("wanfarm_slots", "Jobs that the pool's live workers take at once, without locked ones", _POOL)
PAUSED = ReadMetric("wanfarm_pool_paused", "1 while an operator lets nothing of the pool start", _POOL)
WORKERS = ReadMetric("wanfarm_workers", "Live workers, by state", ("pool", "state"))

GPU_SECONDS = ReadMetric("wanfarm_tenant_gpu_seconds", "GPU-seconds of attempts that ended", _SHARE, counter=True)
ENTITLEMENT = ReadMetric(
    "wanfarm_tenant_entitlement_ratio", "The tenant's part of the pool among those that want it now, by weight", _SHARE
)
AHEAD_SECONDS = ReadMetric(
    "wanfarm_tenant_virtual_ahead_seconds",
    "Virtual time against the tier's clock; of a tier's tenants the one with the least is served next",
    ("pool", "tier", "tenant"),
)
TENANT_QUEUED = ReadMetric("wanfarm_tenant_queue_jobs", "The tenant's jobs that could be claimed now", _SHARE)
TENANT_JOBS = ReadMetric("wanfarm_tenant_jobs", "The tenant's jobs, by state", ("tenant", "state"))
TENANT_OPEN_LIMIT = ReadMetric("wanfarm_tenant_open_jobs_limit", "Jobs that the tenant may have open at once", _TENANT)
BALANCE = ReadMetric("wanfarm_tenant_balance_credits", "Credits paid in and not spent", _TENANT)
HOLDS = ReadMetric("wanfarm_tenant_held_credits", "Credits that the tenant's open jobs will cost", _TENANT)
SPENT = ReadMetric("wanfarm_tenant_spent_credits", "Credits spent on results", _TENANT, counter=True)
RATE_REMAINING = ReadMetric("wanfarm_tenant_rate_remaining_requests", "Requests that the tenant may send now", _TENANT)
RATE_BURST = ReadMetric(
    "wanfarm_tenant_rate_burst_requests", "Requests that the tenant may send at once at most", _TENANT
)
STORED_BYTES = ReadMetric("wanfarm_tenant_stored_bytes", "Bytes of inputs, uploads and results", _TENANT)

REAP_AGE = ReadMetric("wanfarm_reap_age_seconds", "Since the last reap; lost workers' jobs wait for it")
AUDIT_AGE = ReadMetric("wanfarm_audit_age_seconds", "Since an audit of all jobs came to its end")
AUDIT_DRIFT = ReadMetric(
    "wanfarm_audit_drift", "Counters that the audits found wrong and mended", ("counter",), counter=True
)
PROVIDER_PARKED = ReadMetric(
    "wanfarm_provider_parked", "1 while nothing is bought from the provider, by reason", ("provider", "reason")
)
UNRECONCILED = ReadMetric(
    "wanfarm_purchases_unreconciled", "Purchases that no job waits for, or of which nothing is known; an operator's"
)
PURCHASES_OPEN = ReadMetric(
    "wanfarm_purchases_open", "Purchases whose price is held, by whether their id is known", ("provider", "id")
)
_ACCOUNT = ("provider", "account")
PROVIDER_HELD = ReadMetric("wanfarm_provider_held_usd", "Prices of purchases that are not over", _ACCOUNT)
PROVIDER_SPENT = ReadMetric("wanfarm_provider_spent_usd", "What purchases came to", _ACCOUNT, counter=True)
PROVIDER_BALANCE = ReadMetric("wanfarm_provider_balance_usd", "What the provider says is left", _ACCOUNT)
PROVIDER_UNEXPLAINED = ReadMetric(
    "wanfarm_provider_unexplained_usd", "What went from the account without a purchase that explains it", _ACCOUNT
)
EXTERNAL_MONTH = ReadMetric(
    "wanfarm_external_month_usd", "Held and spent in this month of UTC: farm, or overhead (a part of it)", ("scope",)
)
OUTBOX = ReadMetric("wanfarm_outbox_entries", "Endings of jobs whose callback is not scheduled yet")
WEBHOOKS_PENDING = ReadMetric("wanfarm_webhooks_pending", "Callbacks that are due, wait for a retry or are under way")
WEBHOOKS_LATE = ReadMetric("wanfarm_webhooks_due_age_seconds", "How long the callback is due that is due longest")
WEBHOOKS_DEAD = ReadMetric("wanfarm_webhooks_dead", "Callbacks that were given up and are kept for a replay")
LEDGER_MEMORY = ReadMetric("wanfarm_ledger_memory_bytes", "Memory that the ledger's Redis uses")
LEDGER_MEMORY_LIMIT = ReadMetric("wanfarm_ledger_memory_limit_bytes", "Memory that it may use; 0: no limit")
DISK_FREE = ReadMetric("wanfarm_disk_free_bytes", "Free space on the disk of the exporter's state folder")

EXPORTER_UP = ReadMetric("wanfarm_exporter_ledger_up", "1 when the ledger answered this scrape")
SCRAPE_SECONDS = ReadMetric("wanfarm_exporter_scrape_seconds", "How long the ledger took to answer this scrape")
