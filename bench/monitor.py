"""When Redis ran which command, on Redis' own clock, in microseconds: the MONITOR feed of one server."""

import threading
import time
from types import TracebackType
from typing import Self

from redis import Redis


class Monitor:
    """Collects (time, database, command line) of every command between enter and exit."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = Redis.from_url(url)
        self.commands: list[tuple[float, int, str]] = []
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        with self._client.monitor() as feed:
            self._ready.set()
            while not self._stop.is_set():
                line = feed.next_command()
                self.commands.append((line["time"], int(line["db"]), line["command"]))
                if line["command"].endswith("monitor-ends"):
                    return

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        with Redis.from_url(self._url) as poke:
            poke.echo("monitor-ends")
        self._thread.join(10)
        self._client.close()

    def settle(self, seconds: float = 0.2) -> None:
        """Let commands under way reach the feed."""
        time.sleep(seconds)
