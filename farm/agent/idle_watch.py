"""For how long an agent has had nothing to do. Pure: the clock is an argument."""


class IdleWatch:
    """`limit_s`: seconds after which an idle agent is to end; None: never."""

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._since: float | None = None

    @property
    def since(self) -> float:
        """When it became idle, on the same clock. Only while it is."""
        assert self._since is not None
        return self._since

    def over(self, now: float, *, idle: bool) -> bool:
        """Tell whether the agent is idle at `now` (seconds of a clock that never goes back); whether it is to end."""
        if not idle:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return self._limit_s is not None and now - self._since >= self._limit_s
