"""The list of what is examined."""

from collections.abc import Callable, Iterable, Iterator

from farm.config import Settings
from farm.doctor import address_checks, gpu_checks, machine_checks, redis_checks, s3_checks, weights_checks
from farm.doctor.finding import Finding

#: part -> its checks, in the order in which they are told
PARTS: dict[str, Callable[[Settings], Iterator[Finding]]] = {
    "redis": lambda settings: redis_checks.examine(settings.redis),
    "s3": lambda settings: s3_checks.examine(settings.s3, settings.gateway.cors_origins),
    "machine": machine_checks.examine,
    "gpu": gpu_checks.examine,
    "weights": weights_checks.examine,
    "address": address_checks.examine,
}


def examine(settings: Settings, parts: Iterable[str] = ()) -> Iterator[Finding]:
    """Findings as they are made; of all parts when none is named."""
    wanted = set(parts) or set(PARTS)
    for part, checks in PARTS.items():
        if part in wanted:
            yield from checks(settings)
