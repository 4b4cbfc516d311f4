"""A Redis that fails over: a primary, a replica and three Sentinels as real processes, with passwords."""

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from farm.config import RedisSettings
from farm.embedded.binaries import redis_server
from farm.embedded.ports import free_port
from farm.jobs.errors import Unavailable
from farm.jobs.job import NewJob
from farm.ledger import Ledger
from farm.ledger.outcomes import Permit
from tests.conftest import wait_until

SERVICE, PASSWORD, SENTINEL_PASSWORD = "ledger", "server-word", "sentinel-word"
#: a primary that is silent for so long is down
DOWN_MS = 500


class WatchedRedis:
    """Servers by their ports."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self._folder, self._host = folder, host
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.servers = [free_port(), free_port()]
        self.sentinels = [free_port() for _ in range(3)]
        self._start_server(self.servers[0])
        self._start_server(self.servers[1], "--replicaof", f"{host} {self.servers[0]}")
        for port in self.servers:
            wait_until(lambda port=port: self._told(port) is not None, what=f"the server on {port}")
        wait_until(lambda: self._told(self.servers[1], "master_link_status") == "up", what="the replica")
        for port in self.sentinels:
            self._start_sentinel(port)
        wait_until(lambda: all(self._sees_all(port) for port in self.sentinels), what="the Sentinels to meet")

    def settings(self, **more: object) -> RedisSettings:
        """Both databases on the primary of the service; the host of the URLs is nobody's."""
        return RedisSettings(
            **{
                "ledger_url": f"redis://:{PASSWORD}@nobody.invalid/4",
                "broker_url": f"redis://:{PASSWORD}@nobody.invalid/5",
                "sentinels": tuple(f"{self._host}:{port}" for port in self.sentinels),
                "service": SERVICE,
                "sentinel_password": SENTINEL_PASSWORD,
                "socket_timeout_s": 4.0,
                "connect_timeout_s": 1.0,
                "waitaof_replicas": 1,
                **more,
            }  # type: ignore[arg-type]
        )

    @property
    def primary(self) -> int | None:
        """The port of the server that takes writes, when exactly one does."""
        found = [port for port in self.servers if self._told(port, "role") == "master"]
        return found[0] if len(found) == 1 else None

    def role(self, port: int) -> str | None:
        """What the server says that it is, "master" or "slave"; None where it says nothing."""
        return self._told(port)

    def kill_primary(self) -> int:
        """SIGKILL; returns once another server is the primary."""
        old = self.primary
        assert old is not None
        self.end(old)
        wait_until(lambda: self.primary not in (None, old), what="a new primary")
        return old

    def freeze_primary(self) -> int:
        """SIGSTOP, as of a machine that hangs; returns once another server is the primary. The old one goes on where it
        was at `thaw`, and believes that it still is the primary."""
        old = self.primary
        assert old is not None
        self.freeze(old)
        wait_until(lambda: self.primary not in (None, old), what="a new primary")
        return old

    @property
    def replica(self) -> int:
        """The port of the server that is not the primary."""
        return next(port for port in self.servers if port != self.primary)

    def has_all(self, port: int) -> bool:
        """Whether that replica has everything that its primary has."""
        primary = self.primary
        return primary is not None and self._told(port, "slave_repl_offset") == self._told(
            primary, "master_repl_offset"
        )

    def end(self, port: int) -> None:
        """SIGKILL, and nobody waits for a new primary."""
        self._processes[port].kill()
        self._processes[port].wait()

    def stop(self, port: int) -> None:
        """End a server in order, as before an upgrade of its program."""
        self._processes[port].terminate()
        self._processes[port].wait()

    def switch(self) -> int:
        """A failover that an operator asks for; returns the old primary once the replica has taken over from it."""
        old = self.primary
        assert old is not None
        with Redis(self._host, self.sentinels[0], password=SENTINEL_PASSWORD) as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", SERVICE)
        wait_until(lambda: self.primary not in (None, old), what="the replica to take over")
        return old

    def restart(self, port: int) -> None:
        """Start a server that died, told whom to follow; returns once it does."""
        assert self.primary is not None
        self.start_as_replica(port, self.primary)
        wait_until(lambda: self.follows(port), what="the old primary to follow the new one")

    def start_as_replica(self, port: int, primary: int) -> None:
        """Start a server that ended, with what it had; whether or not the primary lives."""
        self._start_server(port, "--replicaof", f"{self._host} {primary}")

    def follows(self, port: int) -> bool:
        """Whether that server is a replica that has what its primary has."""
        return self._told(port, "master_link_status") == "up"

    def freeze(self, port: int) -> None:
        self._processes[port].send_signal(signal.SIGSTOP)

    def thaw(self, port: int) -> None:
        self._processes[port].send_signal(signal.SIGCONT)

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def client(self, port: int, db: int = 4) -> Redis:
        return Redis(self._host, port, db, PASSWORD, decode_responses=True, socket_timeout=1.0)

    def _start_server(self, port: int, *more: str) -> None:
        config = self._folder / f"server-{port}.conf"
        if not config.exists():
            (self._folder / str(port)).mkdir()
            lines = [
                f"port {port}",
                f"bind {self._host}",
                f"dir {self._folder / str(port)}",
                "appendonly yes",
                'save ""',
            ]
            lines += [f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", "repl-diskless-sync-delay 0"]
            config.write_text("\n".join([*lines, ""]))
        self._start(port, str(config), *more)

    def _start_sentinel(self, port: int) -> None:
        config = self._folder / f"sentinel-{port}.conf"
        lines = [f"port {port}", f"bind {self._host}", f"requirepass {SENTINEL_PASSWORD}"]
        lines += [f"sentinel sentinel-pass {SENTINEL_PASSWORD}"]
        lines += [f"sentinel monitor {SERVICE} {self._host} {self.servers[0]} 2"]
        lines += [f"sentinel auth-pass {SERVICE} {PASSWORD}"]
        lines += [f"sentinel down-after-milliseconds {SERVICE} {DOWN_MS}"]
        lines += [f"sentinel failover-timeout {SERVICE} 3000"]
        config.write_text("\n".join([*lines, ""]))
        self._start(port, str(config), "--sentinel")

    def _start(self, port: int, *arguments: str) -> None:
        with (self._folder / f"{port}.log").open("ab") as log:
            self._processes[port] = subprocess.Popen(
                [redis_server(), *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def _told(self, port: int, name: str = "role") -> str | None:
        with self.client(port) as client, suppress(RedisError):
            told = client.info("replication").get(name)
            return None if told is None else str(told)
        return None

    def _sees_all(self, port: int) -> bool:
        with Redis(self._host, port, password=SENTINEL_PASSWORD, decode_responses=True) as client, suppress(RedisError):
            found = client.sentinel_master(SERVICE)
            return found["num-other-sentinels"] == 2 and found["num-slaves"] == 1
        return False


class Admissions(threading.Thread):
    """Submits one job after another as a gateway does for a patient client: each is said again, under its id, until it
    is acknowledged. `admitted` hears the wake-ups of each; `pause_s` is between two jobs."""

    def __init__(
        self,
        ledger: Ledger,
        job: Callable[[], NewJob],
        admitted: Callable[[Sequence[Permit]], object] = len,
        *,
        pause_s: float = 0.1,
    ) -> None:
        super().__init__(daemon=True)
        self._pause_s = pause_s
        self._ledger, self._job, self._admitted, self._over = ledger, job, admitted, threading.Event()
        self.acknowledged: list[str] = []
        self.refused = 0

    def run(self) -> None:
        while not self._over.is_set():
            job = self._job()
            while True:
                try:
                    _, permits = self._ledger.admit([job])
                    break
                except Unavailable:
                    self.refused += 1
                    self._over.wait(0.05)
            self.acknowledged.append(job.id)
            self._admitted(permits)
            self._over.wait(self._pause_s)

    def wait_more(self, count: int) -> None:
        """Until so many more were acknowledged."""
        before = len(self.acknowledged)
        wait_until(lambda: len(self.acknowledged) >= before + count, what="more admissions")

    def end(self) -> list[str]:
        """Submit no more; ids of what was acknowledged."""
        self._over.set()
        self.join()
        return self.acknowledged


@contextmanager
def watched_redis(folder: Path) -> Iterator[WatchedRedis]:
    folder.mkdir(parents=True, exist_ok=True)
    watched = WatchedRedis(folder)
    try:
        yield watched
    finally:
        watched.close()
