"""Ids of traces and spans that every process can tell without asking: they follow from the job's own id, which has the
128 bits that OpenTelemetry wants of a trace. Pure."""

import hashlib


def trace_of(job_id: str) -> str:
    """The id of a job's trace, as OpenTelemetry writes it."""
    return job_id.replace("-", "")


def root_span(job_id: str) -> int:
    """The id of the span that all others of the job are below."""
    return int.from_bytes(hashlib.sha256(f"{job_id} request".encode()).digest()[:8]) or 1


def is_chosen(job_id: str, share: float) -> bool:
    """Whether a job is among the share of jobs that are traced: every process finds the same."""
    # the last digits are random
    return int(trace_of(job_id)[-8:], 16) < share * 2**32
