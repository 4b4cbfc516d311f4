"""Why nothing was admitted, as the scripts say it and as errors."""

from typing import Any

from farm.jobs.errors import Conflict, Forbidden, PaymentRequired, RequestError, TooLarge, TooMany
from farm.jobs.money import credits_text

#: retry_after_s for a tenant at its open-job limit: about as long as a short render takes to end
OPEN_RETRY_AFTER_S = 10.0


def no_room(stored: int, most: int) -> Forbidden:
    """Bytes that a tenant has in the store, and that it may have."""
    return Forbidden(
        f"your files take {stored} bytes of the {most} that you may store; delete jobs, or wait until old ones are "
        "removed"
    )


def too_large(jobs: int, most: int) -> TooLarge:
    """A batch that would never fit, however many jobs end before it."""
    return TooLarge(f"{jobs} jobs are more than the {most} that you may have open at once: send smaller batches")


def too_many_acts(most: int) -> TooMany:
    """As many acts on one batch are under way as may be."""
    return TooMany(
        f"{most} acts on this batch are under way, and no more may be at once; wait for some to end",
        retry_after_s=OPEN_RETRY_AFTER_S,
    )


def other_request(field: str = "Idempotency-Key") -> Conflict:
    """An idempotency key that came with another request before."""
    return Conflict("this idempotency key came with another request before; send that one again, or a new key", field)


def refusal(verdict: str, details: list[Any]) -> RequestError:
    """From the verdict of admit.lua or batch_begin.lua and what goes with it."""
    match verdict:
        case "conflict":
            return other_request()
        case "taken":
            return Conflict(f"the id of job {details[0]} is taken; send it again with another")
        case "unpriced":
            return PaymentRequired(
                "there is no price for a job, so it cannot be held against the credit; ask the farm's operator"
            )
        case "no_room":
            return no_room(*details)
        case "too_many":
            return TooMany(
                f"no more than {details[1]} jobs may be open at once; wait for some to end",
                retry_after_s=OPEN_RETRY_AFTER_S,
            )
        case "payment":
            _tenant, needed, available = details
            return PaymentRequired(
                f"{credits_text(needed)} credits are needed and {credits_text(available)} are free; wait for jobs to "
                "end, or top up the account"
            )
    raise AssertionError(f"an admission answered {verdict!r}")
