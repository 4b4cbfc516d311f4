"""The ledger: the only code that writes job state. Every transition is one Lua script (lua/*.lua)."""

from farm.ledger.connection import connect
from farm.ledger.ledger import BURST_POOL, INTAKE_POOL, Ledger
from farm.ledger.outcomes import (
    Account,
    AuditReport,
    Beat,
    CancelOutcome,
    CommitOutcome,
    FailOutcome,
    HoldOutcome,
    OperationOutcome,
    OperatorAct,
    OutboxEntry,
    Permit,
    RateVerdict,
    ReapReport,
    StatementKind,
    StatementLine,
    SwitchKind,
    Verdict,
)

__all__ = [
    "BURST_POOL",
    "INTAKE_POOL",
    "Account",
    "AuditReport",
    "Beat",
    "CancelOutcome",
    "CommitOutcome",
    "FailOutcome",
    "HoldOutcome",
    "Ledger",
    "OperationOutcome",
    "OperatorAct",
    "OutboxEntry",
    "Permit",
    "RateVerdict",
    "ReapReport",
    "StatementKind",
    "StatementLine",
    "SwitchKind",
    "Verdict",
    "connect",
]
