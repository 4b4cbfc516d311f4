"""Webhooks: from the ledger's outbox to the receivers of terminal events, at least once. Writes no job state."""
