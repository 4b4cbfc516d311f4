"""Limits of one tenant. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TenantLimits:
    """None: no limit. max_open: jobs not yet over. max_running: jobs at work at once, and max_running_in of one pool.
    rate_per_minute: submissions. external_*_usd: what may be bought for it in a day and a month of UTC."""

    max_open: int | None = None
    max_running: int | None = None
    rate_per_minute: float | None = None
    external_day_usd: float | None = None
    external_month_usd: float | None = None
    max_running_in: Mapping[str, int] = field(default_factory=dict)
