"""When a delivery is tried again, and when it is given up. Pure; chance and time come in as arguments."""

from dataclasses import dataclass
from enum import StrEnum

from farm.config import WebhookSettings

#: answers that no retry will change: the receiver says that it is gone
_GONE = 410
#: the longest that a receiver's own Retry-After is obeyed
_RETRY_AFTER_MAX_S = 6 * 3600.0


@dataclass(frozen=True)
class RetryPolicy:
    """Pauses grow from first_s by doubling up to max_s, each shortened by up to half at random; tried for give_up_s in
    all, and at most `retries` times where that is set."""

    first_s: float
    max_s: float
    give_up_s: float
    retries: int | None = None


class Outcome(StrEnum):
    """How an attempt to deliver ended. HOPELESS: it will not be tried again."""

    DELIVERED = "delivered"
    FAILED = "failed"
    HOPELESS = "hopeless"


def policy_of(dialect: str, settings: WebhookSettings) -> RetryPolicy:
    """The farm's own rule, or the dialect's where `webhooks.dialects` has one."""
    own = settings.dialects.get(dialect)
    first_s, retries = (settings.first_retry_s, None) if own is None else (own.first_retry_s, own.retries)
    return RetryPolicy(first_s, settings.max_retry_s, settings.give_up_s, retries)


def next_pause_s(
    policy: RetryPolicy, *, attempts: int, elapsed_s: float, chance: float, retry_after_s: float | None = None
) -> float | None:
    """Seconds until the next attempt after `attempts` failed ones, `elapsed_s` after the first was due; None: give up.
    `chance` in [0, 1)."""
    if policy.retries is not None and attempts > policy.retries:
        return None
    pause = min(policy.first_s * 2.0 ** min(attempts - 1, 60), policy.max_s)
    pause *= 1 - chance / 2
    if retry_after_s is not None:
        pause = max(pause, min(retry_after_s, _RETRY_AFTER_MAX_S))
    if elapsed_s + pause > policy.give_up_s:
        return None
    return pause


def outcome_of(status: int) -> Outcome:
    """What an HTTP status says: any 2xx is received; a redirect is not followed and counts as a failure."""
    if 200 <= status < 300:
        return Outcome.DELIVERED
    return Outcome.HOPELESS if status == _GONE else Outcome.FAILED
