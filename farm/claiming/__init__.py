"""What every process shares that claims work: Celery, permits, leases, retries."""
