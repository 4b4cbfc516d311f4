"""Real parts for the tests: a Redis and an S3 server per test process, started from the same code as the farm's."""

import gc
import hashlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import hypothesis
import preloaded
import pytest
from bad_servers import serve  # noqa: F401 - a fixture for everyone
from httpx._transports import default as _httpx_transports
from jinja2 import Environment
from own_redis import redis_command, redis_environment
from redis import Redis
from werkzeug.routing import Rule

from farm.config import RedisSettings, S3Settings, Settings
from farm.embedded import s3_part
from farm.embedded.ports import free_port
from farm.intake import rendition

# how long an example or its making takes says how busy the machine is
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], parent=hypothesis.settings.default
)
hypothesis.settings.load_profile("busy")

# what collecting the tests imports stays: looking through it again and again is a third of what collecting costs
gc.disable()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell starts its background jobs deaf to SIGINT, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)


_compile = Rule.compile
_compiled: dict[object, Rule] = {}


def _compile_once(rule: Rule) -> None:
    """What Rule.compile finds out, which depends on the address and not on the app."""
    key = (rule.rule, repr(rule.defaults), rule.subdomain, rule.host, rule.merge_slashes, rule.strict_slashes)
    if (known := _compiled.get(key)) is None:
        _compile(rule)
        _compiled[key] = rule
        return
    rule._parts, rule._trace, rule._converters = known._parts, known._trace, known._converters
    rule.arguments |= known.arguments
    rule._build = known._build.__func__.__get__(rule)  # type: ignore[attr-defined]
    rule._build_unknown = known._build_unknown.__func__.__get__(rule)  # type: ignore[attr-defined]


# a thousand tests make an app each, all with the same addresses, and this was most of what making one costs
Rule.compile = _compile_once  # type: ignore[method-assign]


_compile_template = Environment.compile
_templates: dict[object, Any] = {}


def _compile_template_once(environment: Environment, source: Any, *how: Any, **named: Any) -> Any:
    """For each app anew, Jinja would translate the same templates into the same code."""
    if not isinstance(source, str):
        return _compile_template(environment, source, *how, **named)
    key = (source, how, tuple(named.items()))
    if key not in _templates:
        _templates[key] = _compile_template(environment, source, *how, **named)
    return _templates[key]


Environment.compile = _compile_template_once  # type: ignore[method-assign]

# each httpx.get() would read every authority of the system anew: 30 ms of CPU, a hundred times what it asks
_httpx_transports.create_ssl_context = cache(httpx.create_ssl_context)  # type: ignore[attr-defined]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Under CI a skip is a failure: what was not run was not proved."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak-seed", type=int, default=None, help="the seed of a soak's faults (default: a new one)")


@pytest.fixture(scope="session")
def soak_seed(request: pytest.FixtureRequest) -> int:
    """Decides jobs and faults of the soaks; it is in the output of one that fails."""
    asked = request.config.getoption("--soak-seed")
    seed = random.SystemRandom().randrange(1_000_000) if asked is None else int(asked)
    print(f"\nsoak seed {seed} (repeat with --soak-seed {seed})", flush=True)
    return seed


LONGEST_ID = 60


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A long text, or bytes of a file, is named by its hash: whole it would stand in every report, travel between the
    processes of a parallel run, and be in the environment of what a test starts."""
    if not isinstance(val, str | bytes) or len(val) <= LONGEST_ID:
        return None
    data = val.encode(errors="surrogatepass") if isinstance(val, str) else val
    return f"{argname}-of-{len(val)}-{hashlib.sha256(data).hexdigest()[:8]}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first, so that no process of a parallel run is left alone with it in the end."""
    items.sort(key=lambda item: not (item.get_closest_marker("long") or item.get_closest_marker("e2e")))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


#: fixtures that live for a session since many tests share them: whole farms
_FARMS = ("real_farm", "real")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A farm takes a twentieth of a core when nobody asks for anything: it ends with the last test that needs it."""
    yield
    for name in _FARMS:
        if name in item.fixturenames and (nextitem is None or name not in nextitem.fixturenames):  # type: ignore[attr-defined]
            for fixture in item._fixtureinfo.name2fixturedefs[name]:  # type: ignore[attr-defined]
                fixture.finish(item._request)  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tables that tests filled cell by cell, record_property("cell", [table, row, column, text]), whoever ran them."""
    tables: dict[str, dict[str, dict[str, str]]] = {}
    for report in terminalreporter.stats.get("passed", []):
        for name, cell in report.user_properties:
            if name == "cell":
                table, row, column, text = cell
                tables.setdefault(table, {}).setdefault(row, {})[column] = text
    for title, rows in tables.items():
        columns = sorted({column for row in rows.values() for column in row})
        terminalreporter.section(title)
        terminalreporter.write_line(f"{'':12}" + "".join(f"{column:>17}" for column in columns))
        for name, row in rows.items():
            terminalreporter.write_line(f"{name:12}" + "".join(f"{row.get(c, '?'):>17}" for c in columns))


def wait_until(condition: Callable[[], object], timeout_s: float = 180.0, what: str = "condition") -> None:
    """Poll until `condition()` is truthy; fail with `what` after timeout_s. The deadline is only a safety net."""
    begun = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - begun
        if waited_s > timeout_s:
            pytest.fail(f"waited {timeout_s} s for {what}")
        # most conditions ask a server: what lasts is looked at less often
        time.sleep(0.02 if waited_s < 1 else 0.06)


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _serve(command: list[str], port: int, log: Path, env: Mapping[str, str] | None = None) -> Iterator[int]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
    try:
        wait_until(lambda: _listening(port), what=f"{command[0]} on port {port} (log: {log})")
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session", autouse=True)
def _forked_decoders() -> Iterator[None]:
    """Each picture, clip and sound that a test sends is decoded in a process of its own, which imports all its life."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rendition, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": preloaded.Decoder}))
        yield


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The server's port. No farm outlasts a test on it: some tests count all that the server does."""
    yield from redis_served(tmp_path_factory.mktemp("redis"))


def redis_served(folder: Path) -> Iterator[int]:
    port = free_port()
    yield from _serve(redis_command(folder, port), port, folder / "log", redis_environment())


@cache
def _database(redis_port: int, number: int) -> Redis:
    return Redis(port=redis_port, db=number, socket_timeout=30.0)


def empty(redis_port: int) -> None:
    """Databases 0 and 1 of the tests' server."""
    for number in (0, 1):
        _database(redis_port, number).flushdb()


@pytest.fixture
def redis_settings(redis_port: int) -> RedisSettings:
    """The two databases, emptied. A call waits for as long as a busy machine may take."""
    empty(redis_port)
    base = f"redis://127.0.0.1:{redis_port}"
    return RedisSettings(ledger_url=f"{base}/0", broker_url=f"{base}/1", socket_timeout_s=30.0, connect_timeout_s=30.0)


@pytest.fixture
def redis(redis_settings: RedisSettings) -> Iterator[Redis]:
    patience_s = redis_settings.socket_timeout_s
    with Redis.from_url(redis_settings.ledger_url, decode_responses=True, socket_timeout=patience_s) as client:
        yield client


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Settings]:
    folder, port = tmp_path_factory.mktemp("s3"), free_port()
    settings = S3Settings(endpoint=f"127.0.0.1:{port}", access_key="test-access", secret_key="test-secret")
    (folder / "data" / settings.bucket).mkdir(parents=True)
    env = s3_part.environment(settings.access_key, settings.secret_key)
    for _ in _serve(s3_part.command(folder / "data", port), port, folder / "log", env):
        yield settings


@pytest.fixture
def settings(redis_settings: RedisSettings, s3_server: S3Settings, tmp_path: Path) -> Settings:
    """A farm's settings on the test's own Redis and S3, with a state folder of its own."""
    return Settings(state_dir=tmp_path / "state", redis=redis_settings, s3=s3_server)
