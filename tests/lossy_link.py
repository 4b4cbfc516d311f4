"""Hosts of their own as network namespaces, on a link that delays, drops and splits: a hub in user space between TAP
devices, because the kernel's netem is not there everywhere. Needs root, iproute2 and /dev/net/tun."""

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
_FRAME = 65536


class Link:
    """`address` is this machine's end. `delay_s` and `drop` (a share) hold for every frame; those to and from the hosts
    in `cut` go nowhere."""

    def __init__(self, hosts: Sequence[str], subnet: str = "10.79.61") -> None:
        self.delay_s, self.drop, self.cut = 0.0, 0.0, set[str]()
        self.dropped = 0
        self.address = f"{subnet}.1"
        self._tag = f"{os.getpid() % 10_000}"
        self.hosts = {host: f"{subnet}.{n}" for n, host in enumerate(hosts, 2)}
        self._ends: dict[int, str] = {}
        self._chance = random.Random(61)
        self._over = threading.Event()
        try:
            self._plug("", self.address)
            for host, address in self.hosts.items():
                _ip("netns", "add", self.namespace(host))
                self._plug(host, address)
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._carry, name="link", daemon=True).start()

    def namespace(self, host: str) -> str:
        return f"wf{self._tag}-{host}"

    def command(self, host: str, command: Sequence[str]) -> list[str]:
        """Arguments to run a command on that host, which has a name of its own."""
        named = ["unshare", "--uts", "sh", "-c", f'hostname {host}; exec "$@"', "sh", *command]
        return ["ip", "netns", "exec", self.namespace(host), *named]

    def close(self) -> None:
        self._over.set()
        for handle in self._ends:
            os.close(handle)
        self._ends.clear()
        for host in self.hosts:
            subprocess.run(["ip", "netns", "del", self.namespace(host)], check=False, capture_output=True)

    def _plug(self, host: str, address: str) -> None:
        name = f"wf{self._tag}{len(self._ends)}"
        handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        self._ends[handle] = host
        fcntl.ioctl(handle, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TAP | _IFF_NO_PI))
        inside = ["netns", "exec", self.namespace(host), "ip"] if host else []
        if host:
            _ip("link", "set", name, "netns", self.namespace(host))
            _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "addr", "add", f"{address}/24", "dev", name)
        _ip(*inside, "link", "set", name, "up")

    def _carry(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []
        count = 0
        while not self._over.is_set():
            patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.1
            with contextlib.suppress(OSError, ValueError):
                for source in select.select(list(self._ends), [], [], min(patience, 0.1))[0]:
                    frame = os.read(source, _FRAME)
                    for target in self._reached(source):
                        count += 1
                        heapq.heappush(waiting, (time.monotonic() + self.delay_s, count, target, frame))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, target, frame = heapq.heappop(waiting)
                with contextlib.suppress(OSError):
                    os.write(target, frame)

    def _reached(self, source: int) -> list[int]:
        if self._ends[source] in self.cut:
            return []
        reached = [end for end, host in self._ends.items() if end != source and host not in self.cut]
        kept = [end for end in reached if self._chance.random() >= self.drop]
        self.dropped += len(reached) - len(kept)
        return kept


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def refused() -> str | None:
    """Why this machine gives us no hosts of our own; None when it does."""
    if not Path("/dev/net/tun").exists():
        return "no /dev/net/tun"
    try:
        _ip("netns", "add", f"wf-try-{os.getpid()}")
        _ip("netns", "del", f"wf-try-{os.getpid()}")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespaces here: {error}"
    return None


@contextlib.contextmanager
def lossy_link(hosts: Sequence[str]) -> Iterator[Link]:
    link = Link(hosts)
    try:
        yield link
    finally:
        link.close()
