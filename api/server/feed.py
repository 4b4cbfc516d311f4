"""An answer that another thread feeds as things happen. Whoever sends it is woken, so that no thread waits for it: a
hundred open pages cost a process no more than what is sent to them."""

import threading
from collections import deque
from collections.abc import Callable, Iterator


class Feed:
    """Any thread gives, one takes. Of too many chunks that wait for a slow client the oldest is dropped."""

    def __init__(self, most: int) -> None:
        self._chunks: deque[bytes] = deque(maxlen=most)
        self._over = False
        self._wake: Callable[[], None] = _nobody

    def give(self, chunk: bytes) -> None:
        """To be sent soon; after the end, never."""
        if not self._over:
            self._chunks.append(chunk)
            self._wake()

    def end(self) -> None:
        """Nothing more comes; what waits is still sent."""
        self._over = True
        self._wake()

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Who sends: `wake` is called, from any thread, each time that there is something to take."""
        self._wake = wake
        wake()

    def take(self) -> bytes | None:
        """All that waits, b"" for nothing, None at the end."""
        over, found = self._over, b""
        while self._chunks:
            found += self._chunks.popleft()
        return None if over and not found else found

    def __iter__(self) -> Iterator[bytes]:
        """For a server whose threads wait, as a test's."""
        came = threading.Event()
        self.wake_by(came.set)
        while True:
            came.wait()
            came.clear()
            while chunk := self.take():
                yield chunk
            if chunk is None:
                return


def _nobody() -> None:
    """Nobody sends yet."""
