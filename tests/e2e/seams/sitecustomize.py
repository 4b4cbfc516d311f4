"""Imported by every Python process of a farm under test (this folder is on its PYTHONPATH). With E2E_FLAKY="SEED:SHARE"
that share of the scripts that the process runs on Redis is carried out and then reported as failed: the caller
cannot know whether it happened. Nothing of the farm is replaced; the answer is lost on its way."""

import os
import random
from typing import Any


def _lose_answers(seed: str, share: float) -> None:
    from redis.connection import AbstractConnection
    from redis.exceptions import TimeoutError

    dice = random.Random(f"{seed}:{os.getpid()}")
    send, read = AbstractConnection.send_packed_command, AbstractConnection.read_response

    def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        send(self, command, check_health)
        self.ran_script = any(b"EVALSHA" in part for part in command)

    def read_response(self: Any, *args: Any, **options: Any) -> Any:
        answer, ran = read(self, *args, **options), getattr(self, "ran_script", False)
        self.ran_script = False
        if ran and dice.random() < share:
            self.disconnect()
            raise TimeoutError("carried out, and then the answer was lost (injected by a test)")
        return answer

    AbstractConnection.send_packed_command, AbstractConnection.read_response = send_packed_command, read_response


if flaky := os.environ.get("E2E_FLAKY"):
    _seed, _, _share = flaky.partition(":")
    _lose_answers(_seed, float(_share))
