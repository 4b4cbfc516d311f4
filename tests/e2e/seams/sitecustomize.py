"""Imported by every Python process of a farm under test (this folder is on its PYTHONPATH). With E2E_FLAKY="SEED:SHARE"
that share of the scripts that the process runs on Redis is carried out and then reported as failed: the caller
cannot know whether it happened. Nothing of the farm is replaced; the answer is lost on its way."""

import os
import random
from typing import Any


def _lose_answers(seed: str, share: float) -> None:
    import redis

    dice = random.Random(f"{seed}:{os.getpid()}")
    carry_out = redis.Redis.execute_command

    def execute_command(self: Any, *args: Any, **options: Any) -> Any:
        answer = carry_out(self, *args, **options)
        if args and args[0] == "EVALSHA" and dice.random() < share:
            raise redis.exceptions.TimeoutError("carried out, and then the answer was lost (injected by a test)")
        return answer

    redis.Redis.execute_command = execute_command


if flaky := os.environ.get("E2E_FLAKY"):
    _seed, _, _share = flaky.partition(":")
    _lose_answers(_seed, float(_share))
