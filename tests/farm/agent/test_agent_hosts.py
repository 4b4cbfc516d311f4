"""Agents as hosts of their own, on a link that delays, drops and splits. `make soak` runs it: it needs root for network
namespaces, and half a minute."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from lossy_link import Link, lossy_link, refused
from redis import Redis
from redis.exceptions import RedisError

from farm.agent.supervisor import agent_command
from farm.config import RedisSettings, S3Settings
from farm.embedded import s3_part
from farm.embedded.binaries import redis_server
from farm.embedded.ports import free_port
from farm.engine.slots import Slot
from farm.jobs.states import State
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import AgentFarm, AgentProcess, changed, farm_on
from tests.farm.agent.conftest import short_clocks

pytestmark = [pytest.mark.xdist_group("agent_hosts"), pytest.mark.soak]

WORD = "on-the-link"


@contextmanager
def server(command: list[str], log: Path, **environment: str) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **environment})
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def servers(link: Link, folder: Path) -> Iterator[tuple[RedisSettings, S3Settings]]:
    """A Redis and a store that listen on the link."""
    port, s3 = free_port(), S3Settings(endpoint=f"{link.address}:{free_port()}")
    (folder / "s3" / s3.bucket).mkdir(parents=True)
    (folder / "redis").mkdir()
    keep = ["--dir", str(folder / "redis"), "--appendonly", "yes", "--save", ""]
    redis = [str(redis_server()), "--port", str(port), "--bind", link.address, "--requirepass", WORD, *keep]
    store = s3_part.command(folder / "s3", int(s3.endpoint.rpartition(":")[2]), host=link.address)
    keys = s3_part.environment(s3.access_key, s3.secret_key)
    with server(redis, folder / "redis.log"), server(store, folder / "s3.log", **keys):
        base = f"redis://:{WORD}@{link.address}:{port}"
        urls = {"ledger_url": f"{base}/0", "broker_url": f"{base}/1"}
        yield RedisSettings(**urls, socket_timeout_s=2.0, connect_timeout_s=2.0), s3


def _answers(client: Redis) -> bool:
    with suppress(RedisError):
        return bool(client.ping())
    return False


def agent_on(farm: AgentFarm, link: Link, host: str) -> AgentProcess:
    slot = f"cpu-{list(link.hosts).index(host)}"
    command = link.command(host, agent_command(farm.settings, Slot(slot)))
    return AgentProcess(farm, slot, farm.start(command, slot, WANFARM_WORKER__SLOT=slot))


def test_jobs_go_on_over_a_bad_link_and_nothing_is_doubled(tmp_path: Path) -> None:
    if (why := refused()) is not None:
        pytest.skip(why)
    with lossy_link(["north", "south"]) as link, servers(link, tmp_path) as (redis, s3):
        settings = changed(short_clocks(1, s3, tmp_path), tmp_path, lease={"seconds": 6.0, "stuck_s": 30.0})
        settings = settings.model_copy(update={"redis": redis})
        with Redis.from_url(redis.ledger_url) as client:
            wait_until(lambda: _answers(client), what="Redis on the link")
        with farm_on(settings, tmp_path / "farm") as farm:
            agents = {host: agent_on(farm, link, host) for host in link.hosts}
            for host, agent in agents.items():
                wait_until(lambda agent=agent: (farm.worker(agent.slot) or {}).get("state") == "idle", what=host)
            assert sorted(one.worker for one in farm.ledger.workers()) == ["north/cpu-0", "south/cpu-1"]

            # a link that delays and drops
            link.delay_s, link.drop = 0.03, 0.05
            jobs = farm.submit_many(["slow:3"] * 8)
            for job_id in jobs:
                farm.committed(job_id)
            assert link.dropped, "the link was bad"
            link.delay_s, link.drop = 0.0, 0.0

            # a link that splits: the host goes on rendering, and what it makes is not taken
            go = tmp_path / "go"
            split = farm.submit(f"draw:{go}")
            lost = str(farm.wait_state(split, State.RUNNING, phase="denoising").worker)
            first = farm.job(split).attempt
            link.cut.add(lost.partition("/")[0])
            others = farm.submit_many(["slow:1"] * 3)
            for job_id in others:
                assert farm.committed(job_id).worker != lost
            wait_until(lambda: farm.job(split).attempt > first, what="another attempt")
            go.touch()
            job = farm.committed(split)
            assert job.worker != lost
            link.cut.clear()
            # which is said once what it had uploaded is removed
            wait_until(lambda: farm.logged(lost.partition("/")[2], "ended: lost"), what="the host to hear of it")
            farm.committed(split)

            # an address that was handed out works from the other host
            assert job.artifacts is not None
            address = farm.store.presign_get(job.artifacts.video)
            fetch = "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())"
            for host in link.hosts:
                command = link.command(host, [sys.executable, "-c", fetch, address])
                assert len(subprocess.check_output(command, timeout=60)) == job.artifacts.size
