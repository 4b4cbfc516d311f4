"""The job's life: ledger, scheduling, GPU worker, intake, storage, webhooks and the `wanfarm` command."""
