"""What an API key may do. Pure."""

from enum import StrEnum


class Role(StrEnum):
    """`member` submits, reads and cancels its tenant's jobs; `admin` also sees to its tenant's keys, webhooks and
    limits; `operator` also sees to the farm. Each may do what those before it may, and none sees another tenant's
    jobs."""

    MEMBER = "member"
    ADMIN = "admin"
    OPERATOR = "operator"

    @classmethod
    def _missing_(cls, value: object) -> "Role | None":
        # as keys that were made before there were three have it
        return cls.MEMBER if value == "tenant" else None

    def covers(self, needed: "Role") -> bool:
        """Whether it may do all that `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)
