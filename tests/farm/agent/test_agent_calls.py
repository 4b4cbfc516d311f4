"""What an idle and a busy agent say to Redis: counted over beats of the agent, on the wire, not by a clock."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha1
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from farm.config import S3Settings
from farm.jobs.states import State
from farm.ledger.scripts import lua_settings, source
from tests.conftest import wait_until
from tests.farm.agent.agent_farm import AgentFarm, AgentProcess, farm_on
from tests.farm.agent.conftest import short_clocks

pytestmark = pytest.mark.xdist_group("agent_calls")

USER, WORD = "the-agent", "word"
#: beats of the agent over which its calls are counted
BEATS = 4
#: words of a heartbeat that speak of the worker
PRESENCE = 4
SCRIPTS = Path("farm/ledger/lua")


class Heard:
    """The commands of one user, as MONITOR shows them; scripts by their names."""

    def __init__(self, port: int, names: dict[str, str]) -> None:
        self._names, self._client = names, Redis(port=port, decode_responses=True)
        self._own: dict[str, bool] = {}
        self.calls: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join(10)

    def _listen(self) -> None:
        with Redis(port=self._client.connection_pool.connection_kwargs["port"]).monitor() as monitor:
            while not self._over.is_set():
                told = monitor.next_command()
                if told["client_type"] == "tcp" and self._is_own(f"{told['client_address']}:{told['client_port']}"):
                    self.calls.append(self._name(told["command"].split(" ")))

    def _is_own(self, address: str) -> bool:
        if address not in self._own:
            found = {one["addr"]: one["user"] for one in self._client.client_list()}
            self._own[address] = found.get(address) == USER
        return self._own[address]

    def _name(self, words: list[str]) -> str:
        if words[0] != "EVALSHA":
            return words[0]
        name = self._names.get(words[1], "another script")
        # EVALSHA, its name, 0, worker, pool, ttl, mark
        return "presence alone" if name == "heartbeat" and len(words) == 3 + PRESENCE else name

    def between_beats(self, beat: str) -> Counter[str]:
        """What was said from one call of this kind to the one BEATS later."""
        self.calls.clear()
        wait_until(lambda: self.calls.count(beat) > BEATS, what=f"{BEATS} beats")
        calls = list(self.calls)
        at = [n for n, name in enumerate(calls) if name == beat]
        return Counter(calls[at[0] : at[BEATS]])


@pytest.fixture(scope="module")
def farm(redis_port: int, s3_server: S3Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentFarm]:
    folder = tmp_path_factory.mktemp("calls")
    with farm_on(short_clocks(redis_port, s3_server, folder), folder, reaping=False) as farm:
        yield farm


@pytest.fixture(scope="module")
def agent(farm: AgentFarm, redis_port: int) -> Iterator[AgentProcess]:
    """It has a name of its own at Redis."""
    with Redis(port=redis_port) as admin:
        admin.execute_command("ACL", "SETUSER", USER, "on", f">{WORD}", "~*", "&*", "+@all")
        urls = (farm.settings.redis.ledger_url, farm.settings.redis.broker_url)
        ledger, broker = (url.replace("redis://", f"redis://{USER}:{WORD}@") for url in urls)
        yield farm.agent(WANFARM_REDIS__LEDGER_URL=ledger, WANFARM_REDIS__BROKER_URL=broker)


@pytest.fixture(scope="module")
def heard(farm: AgentFarm, agent: AgentProcess, redis_port: int) -> Iterator[Heard]:
    constants = tuple(lua_settings(farm.settings).items())
    names = [file.stem for file in (Path(__file__).parents[3] / SCRIPTS).glob("*.lua")]
    texts = {name: source(name, farm.settings.redis.prefix, constants) for name in names}
    heard = Heard(redis_port, {sha1(text.encode()).hexdigest(): name for name, text in texts.items()})
    yield heard
    with suppress(RedisError):
        heard.close()


#: so often a busy agent's calls are counted, until the machine lets it say them in time
WINDOWS = 10
IN_TIME = {"heartbeat", "presence alone", "reap", "GET", "SCRIPT", "PING"}
#: of the broker: one blocking question after another while it is idle, and what a connection says at its start
BROKER = {"BRPOP", "PING", "AUTH", "HELLO", "SELECT", "CLIENT", "INFO"}


def test_an_idle_agent_renews_its_presence_and_looks_for_work(heard: Heard) -> None:
    calls = heard.between_beats("presence alone")
    assert calls.pop("presence alone") == BEATS
    assert calls.pop("claimable") in range(BEATS - 1, BEATS + 2)
    assert calls.pop("reap", 0) + calls.pop("GET", 0) <= 3, "nobody else reaps here: it does every ten seconds"
    assert calls.pop("SCRIPT", 0) <= 1, "the first reap on a server loads its script"
    assert set(calls) <= BROKER


def test_a_busy_agent_keeps_its_lease_and_its_presence_in_one_call(
    farm: AgentFarm, heard: Heard, tmp_path: Path
) -> None:
    job = farm.submit(f"then:{tmp_path / 'go'}:ok")
    farm.wait_state(job, State.RUNNING, phase="loading")
    for _ in range(WINDOWS):
        calls = heard.between_beats("heartbeat")
        # on a busy machine, what follows a claim is said late, and so is a lease's heartbeat, for which the presence
        # does not wait
        if set(calls) <= IN_TIME and calls["presence alone"] < BEATS - 1:
            break
    assert calls.pop("presence alone", 0) < BEATS - 1
    assert calls.pop("heartbeat") == BEATS
    assert calls.pop("reap", 0) + calls.pop("GET", 0) <= 3
    assert calls.pop("SCRIPT", 0) <= 1
    assert set(calls) <= {"PING"}, "a busy agent does not even ask for permits"
    (tmp_path / "go").touch()
    farm.committed(job)
