"""Buys jobs from providers when the farm's own GPUs are full, and follows what was bought to its end. What a provider
is, sells and answers is in farm.providers and farm.wire; every write of job state and money in farm.ledger."""
