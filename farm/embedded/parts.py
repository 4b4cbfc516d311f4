"""The parts of a farm on one machine and how each is run. The list is read from top to bottom: that is the farm."""

import os
import sys
from collections.abc import Callable, Sequence

from farm.claiming.alive import silent_s
from farm.config import Settings
from farm.embedded import redis_part, role_commands, s3_part
from farm.embedded.binaries import redis_server
from farm.embedded.folder import StateFolder
from farm.embedded.part import Part, Rank
from farm.embedded.plan import StackPlan
from farm.embedded.readiness import Roll, bucket_there, front_answers, gateway_answers, redis_answers

#: seconds that running requests get to end: less than embedded.stop_s, after which the gateway is killed
_GATEWAY_GRACE_S = 4
#: a part that was ready and does not answer for so long is started again, s
_HUNG_S = 60.0


def parts_of(plan: StackPlan, folder: StateFolder, *, gateway_socket: int) -> list[Part]:
    """`gateway_socket` is a listening socket that stays open while the gateway is restarted: clients wait instead of
    being refused."""
    settings, roll = plan.settings, Roll(plan.settings)
    parts = []
    if plan.own_redis:
        server = redis_server()
        parts.append(
            Part(
                name="redis",
                rank=Rank.FOUNDATION,
                command=redis_part.command(
                    (settings.embedded.redis_dir or folder.redis).absolute(),
                    plan.redis_port,
                    password=plan.redis_password,
                    fsync=settings.embedded.redis_fsync,
                    server=server,
                    max_memory_mb=settings.embedded.redis_max_memory_mb or _quarter_of_memory_mb(),
                ),
                environment=redis_part.environment(server),
                ready=redis_answers(settings.redis),
                address=f"127.0.0.1:{plan.redis_port}",
                patience_s=None,
            )
        )
    if plan.own_s3:
        inner = f"127.0.0.1:{plan.s3_inner_port}"
        parts.append(
            Part(
                name="s3",
                rank=Rank.FOUNDATION,
                command=s3_part.command(folder.s3, plan.s3_inner_port),
                environment=s3_part.environment(settings.s3.access_key, settings.s3.secret_key),
                ready=bucket_there(settings.s3.model_copy(update={"endpoint": inner})),
                address=inner,
                hung_s=_HUNG_S,
            )
        )
        parts.append(
            Part(
                name="s3-front",
                rank=Rank.FOUNDATION,
                command=_s3_front(plan),
                ready=front_answers(settings.s3.endpoint),
                address=f"{plan.s3_host}:{plan.s3_port}",
                hung_s=_HUNG_S,
            )
        )
    return [
        *parts,
        Part(
            name="gateway",
            rank=Rank.SERVICE,
            command=role_commands.gateway(
                "--bind", f"fd://{gateway_socket}", "--graceful-timeout", str(_GATEWAY_GRACE_S)
            ),
            ready=gateway_answers(plan.url),
            address=plan.url,
            files=(gateway_socket,),
            hung_s=_HUNG_S,
        ),
        Part(
            name="io",
            rank=Rank.SERVICE,
            command=role_commands.io_worker(settings.worker.io_threads),
            ready=roll.takes_in,
            hung_s=_HUNG_S,
        ),
        Part(
            name="beat",
            rank=Rank.SERVICE,
            command=role_commands.beat(folder.beat),
            ready=_beats(folder),
            hung_s=_HUNG_S,
        ),
        Part(
            name="exporter",
            rank=Rank.SERVICE,
            command=[sys.executable, "-m", "farm.cli", "exporter"],
            ready=roll.exports,
            hung_s=_HUNG_S,
        ),
        *_burst(settings, roll),
        Part(
            name="worker",
            rank=Rank.WORKER,
            command=[sys.executable, "-m", "farm.cli", "worker"],
            ready=roll.renders,
            drains=True,
            # a large model may take minutes from disk to GPU, and the worker watches its own engines
            patience_s=None,
        ),
    ]


def _burst(settings: Settings, roll: Roll) -> list[Part]:
    """Where no provider is configured there is nothing to buy."""
    if not settings.providers:
        return []
    command = [sys.executable, "-m", "farm.cli", "burst"]
    return [Part(name="burst", rank=Rank.SERVICE, command=command, ready=roll.buys, hung_s=_HUNG_S)]


def _beats(folder: StateFolder) -> Callable[[], bool]:
    """Beat answers no question: it says by itself that it lives."""
    return lambda: silent_s(folder.beat) < role_commands.BEATS_S


def _quarter_of_memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 // 2**20


def _s3_front(plan: StackPlan) -> Sequence[str]:
    ports = (plan.s3_host, str(plan.s3_port), str(plan.s3_inner_port))
    return [sys.executable, "-m", "farm.embedded.s3_front", *ports]
