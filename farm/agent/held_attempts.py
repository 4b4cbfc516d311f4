"""The attempts that one agent holds: one that renders, one that waits for the engine, and those on their way out."""

import threading

from farm.agent.attempt import Attempt


class HeldAttempts:
    """Threads may share it."""

    def __init__(self) -> None:
        self._held: set[Attempt] = set()
        self._change = threading.Condition()

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, attempt: Attempt) -> None:
        """The agent holds the attempt until it has ended."""
        with self._change:
            self._held.add(attempt)

    def drop_ended(self) -> None:
        """Hold no longer those that have ended."""
        with self._change:
            self._held = {attempt for attempt in self._held if not attempt.ended.is_set()}
            self._change.notify_all()

    def in_order(self) -> list[Attempt]:
        """The one that renders, then the next one, then those that upload."""
        with self._change:
            return sorted(self._held, key=lambda attempt: (attempt.rendered.is_set(), attempt.claimed))

    def unrendered(self) -> list[Attempt]:
        """Those that need the engine, now or later."""
        with self._change:
            return [attempt for attempt in self._held if not attempt.rendered.is_set()]

    def wait_until_none(self, timeout_s: float | None = None) -> None:
        """Return when nothing is held, or after timeout_s."""
        with self._change:
            self._change.wait_for(lambda: not self._held, timeout_s)

    def wait_until_fewer_upload(self, than: int) -> None:
        """Return when fewer than `than` attempts are rendered and not yet committed."""
        with self._change:
            self._change.wait_for(lambda: sum(attempt.rendered.is_set() for attempt in self._held) < than)
