"""The ledger: the only code that writes job state. Every transition is one Lua script (lua/*.lua)."""

from farm.ledger.ledger import Ledger
from farm.ledger.outcomes import (
    AuditReport,
    CancelOutcome,
    CommitOutcome,
    FailOutcome,
    Permit,
    ReapReport,
    Verdict,
)

__all__ = [
    "AuditReport",
    "CancelOutcome",
    "CommitOutcome",
    "FailOutcome",
    "Ledger",
    "Permit",
    "ReapReport",
    "Verdict",
]
