"""A way to Redis that answers WAITAOF itself, as a server of any age and any luck with its disk would, and passes on
everything else. It notes the commands of each connection."""

import socket
import threading
from typing import BinaryIO


class WaitAof:
    """`synced`: what it says about the local append-only file, 1 or 0. `known`: False for a server that has no such
    command (Redis before 7.2). `replicas`: how many it says have it. `drops`: so many times it answers by closing the
    connection. `heard`: the commands of each connection."""

    def __init__(self, upstream_port: int) -> None:
        self.synced, self.replicas, self.drops = 1, 0, 0
        self.known = True
        self.heard: list[list[str]] = []
        self._upstream_port = upstream_port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self._open = [self._door]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            redis = socket.create_connection(("127.0.0.1", self._upstream_port))
            self._open += [client, redis]
            commands: list[str] = []
            self.heard.append(commands)
            threading.Thread(target=self._forth, args=(client, redis, commands), daemon=True).start()
            threading.Thread(target=self._back, args=(redis, client), daemon=True).start()

    def _forth(self, client: socket.socket, redis: socket.socket, commands: list[str]) -> None:
        with client.makefile("rb") as source:
            while raw := _command(source):
                words = raw.split(b"\r\n")[2::2]
                # the numbers of a WAITAOF, but not its timeout
                commands.append(b" ".join(words[: 3 if words[0] == b"WAITAOF" else 1]).decode())
                if words[0] == b"WAITAOF" and self.drops:
                    self.drops -= 1
                    client.shutdown(socket.SHUT_RDWR)
                elif words[0] == b"WAITAOF":
                    # in its turn behind the answers to what was sent before
                    told = f"return {{{self.synced}, {self.replicas}}}"
                    unknown = "return redis.error_reply(\"ERR unknown command 'WAITAOF'\")"
                    redis.sendall(_packed("EVAL", told if self.known else unknown, "0"))
                else:
                    redis.sendall(raw)

    def _back(self, redis: socket.socket, client: socket.socket) -> None:
        try:
            while data := redis.recv(65536):
                client.sendall(data)
        except OSError:
            return


def _packed(*words: str) -> bytes:
    return "\r\n".join([f"*{len(words)}", *(part for word in words for part in (f"${len(word)}", word)), ""]).encode()


def _command(source: BinaryIO) -> bytes:
    """One RESP command as it came, or nothing at the end."""
    try:
        raw = head = source.readline()
        for _ in range(int(head[1:] or 0)):
            length = source.readline()
            raw += length + source.read(int(length[1:]) + 2)
        return raw
    except OSError:
        return b""
