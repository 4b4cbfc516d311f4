"""Every dialect against everything that can happen to a request, in one table."""

from collections.abc import Callable

import pytest
from dialect_parts import CLIENTS, Client, Worker
from receiver import Receiver

from api.services import Services
from farm.config import Settings
from farm.guard import Guard
from farm.jobs.errors import InvalidRequest, NotFound, PaymentRequired, TooMany, Unauthorized
from farm.jobs.states import State
from farm.webhooks.postman import Postman
from tests.api.api_parts import VIDEO, Caller
from tests.conftest import wait_until

Make = Callable[..., Caller]
TABLE: dict[str, dict[str, str]] = {}


@pytest.fixture(params=CLIENTS, ids=lambda c: c.name)
def client(request: pytest.FixtureRequest) -> Client:
    assert isinstance(request.param, Client)
    return request.param


@pytest.fixture(scope="module", autouse=True)
def table(request: pytest.FixtureRequest) -> object:
    yield
    columns = [
        "success",
        "failure",
        "cancel",
        "unknown id",
        "foreign id",
        "bad key",
        "no credit",
        "over rate",
        "bad input",
        "callback",
    ]
    lines = ["", f"{'dialect':12}" + "".join(f"{c:>13}" for c in columns)]
    lines += [f"{name:12}" + "".join(f"{row.get(c, '?'):>13}" for c in columns) for name, row in TABLE.items()]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n".join(lines))


def note(client: Client, column: str, said: str) -> None:
    TABLE.setdefault(client.name, {})[column] = said


def test_success(client: Client, caller: Make, worker: Worker) -> None:
    alice = caller("alice")
    task = client.made(alice)
    seen = [client.told(alice, task).state]
    worker.take_in()
    claim = worker.claim()
    worker.progress(claim, 2, 4)
    seen.append(client.told(alice, task).state)
    worker.finish(claim)
    report = client.told(alice, task)
    assert [*seen, report.state] == [State.QUEUED, State.RUNNING, State.SUCCEEDED]
    assert report.id == task
    assert len(report.urls) == 1
    if client.name == "openai":
        assert alice.client.get(report.urls[0], headers=client.key(alice.key)).data == VIDEO
    note(client, "success", "200")


def test_failure(client: Client, caller: Make, worker: Worker) -> None:
    alice = caller("alice")
    task = client.made(alice)
    worker.spoil()
    report = client.told(alice, task)
    assert report.state is State.FAILED
    assert report.fault is not None
    assert "no person in the clip" in report.fault.message
    assert report.urls == ()
    note(client, "failure", str(report.fault.code))


def test_cancel(client: Client, caller: Make, worker: Worker) -> None:
    if client.cancel is None:
        note(client, "cancel", "-")
        return
    alice = caller("alice")
    waiting, running = client.made(alice), client.made(alice)
    worker.take_in()
    worker.claim()
    for task in (running, waiting):
        assert client.ask(alice, client.cancel(task)).status_code == 200
        answer = client.look(alice, task)
        if client.name == "openai":
            assert isinstance(client.error(answer.status_code, answer.json, answer.headers), NotFound)
        else:
            assert client.report(answer.json).state is State.CANCELLED
    note(client, "cancel", "200")


def test_unknown_and_foreign_ids_are_one_and_the_same(client: Client, caller: Make, worker: Worker) -> None:
    alice, bob = caller("alice"), caller("bob")
    theirs = client.made(bob)
    answers = [client.look(alice, task) for task in (client.unknown, theirs)]
    for column, answer in zip(("unknown id", "foreign id"), answers, strict=True):
        assert isinstance(client.error(answer.status_code, answer.json, answer.headers), NotFound)
        note(client, column, _code(answer))
    assert answers[0].status_code == answers[1].status_code
    assert str(answers[0].json).replace(client.unknown, "") == str(answers[1].json).replace(theirs, "")
    if client.cancel is not None:
        answer = client.ask(alice, client.cancel(theirs))
        assert isinstance(client.error(answer.status_code, answer.json, answer.headers), NotFound)
    assert client.told(bob, theirs).state is State.QUEUED


def test_bad_key(client: Client, caller: Make, worker: Worker) -> None:
    alice = caller("alice")
    for key in ("", "wrong", alice.key[:-1]):
        stranger = Caller(alice.client, "nobody", key)
        for answer in (client.submit(stranger), client.look(stranger, client.unknown)):
            assert answer.status_code == 401
            assert client.envelope(answer.json)
            assert isinstance(client.error(401, answer.json, answer.headers), Unauthorized)
    note(client, "bad key", _code(answer))


def test_no_credit_and_settlement(client: Client, caller: Make, worker: Worker, parts: Services) -> None:
    alice = caller("alice")
    parts.ledger.topup("alice", 1, "almost nothing")
    body = client.body
    if client.name in ("apixo", "crun"):
        # what is animated costs by its length, which would have to be fetched: the price is not known here
        answer = client.submit(alice)
        assert answer.status_code in (200, 400, 402, 422)
        note(client, "no credit", _code(answer))
        assert parts.ledger.credit("alice").held == 0
        return
    answer = client.submit(alice, body=body)
    assert isinstance(client.error(answer.status_code, answer.json, answer.headers), PaymentRequired)
    note(client, "no credit", _code(answer))
    parts.ledger.topup("alice", 100_000_000)
    client.made(alice)
    held = parts.ledger.credit("alice").held
    assert held > 0
    worker.render()
    after = parts.ledger.credit("alice")
    assert (after.balance, after.held) == (100_000_001 - held, 0)
    client.made(alice)
    worker.spoil()
    assert parts.ledger.credit("alice") == after
    kinds = [str(line.kind) for line in parts.ledger.statement("alice")]
    assert kinds == ["topup", "topup", "hold", "settle", "hold", "release"]


def test_over_rate_and_too_many_open(client: Client, caller: Make, worker: Worker) -> None:
    alice, bob = caller("alice", rate_per_minute=1, rate_burst=1), caller("bob", max_open=1)
    for who in (alice, bob):
        first = client.submit(who)
        assert first.status_code == 200, first.text
        answer = client.submit(who)
        error = client.error(answer.status_code, answer.json, answer.headers)
        assert isinstance(error, TooMany)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
    limited = client.submit(alice).headers
    assert (limited["RateLimit-Limit"], limited["RateLimit-Remaining"]) == ("1", "0")
    assert int(limited["RateLimit-Reset"]) <= 60
    note(client, "over rate", _code(answer))


def test_bad_input(client: Client, caller: Make, worker: Worker) -> None:
    alice = caller("alice")
    for body in (client.bad, {}):
        answer = client.submit(alice, body=body)
        assert answer.status_code in (200, 400, 422)
        assert isinstance(client.error(answer.status_code, answer.json, answer.headers), InvalidRequest)
        assert client.envelope(answer.json)
    note(client, "bad input", _code(answer))


def test_callback(client: Client, caller: Make, worker: Worker, parts: Services, settings: Settings,
                  receivers: Callable[..., Receiver]) -> None:  # fmt: skip
    if not client.callback:
        note(client, "callback", "-")
        return
    alice, receiver = caller("alice"), receivers()
    # the guard of these tests knows every name; this one is a number, and allowed
    tasks = [client.made(alice, callback=receiver.url) for _ in range(2)]
    worker.render()
    worker.spoil()
    postman = Postman(settings, parts.redis, parts.ledger, parts.store, Guard(settings.intake))
    postman.look()
    wait_until(lambda: len(receiver.posts) == 2, what="both callbacks")
    postman.close()
    assert client.parse_callback is not None
    told = {report.id: report.state for report in (client.parse_callback(post.json) for post in receiver.posts)}
    assert told == {tasks[0]: State.SUCCEEDED, tasks[1]: State.FAILED}
    note(client, "callback", "signed")


def _code(answer: object) -> str:
    """HTTP status, and the code of the body where it says something else."""
    status, body = answer.status_code, answer.json  # type: ignore[attr-defined]
    inner = body.get("code") if isinstance(body, dict) else None
    if isinstance(body, dict) and body.get("errors") and isinstance(body["errors"][0], dict):
        inner = body["errors"][0].get("code")
    return str(status) if inner in (None, status) else f"{status}/{inner}"


def test_the_table_is_full() -> None:
    """Last in the file: nothing in it was left out."""
    assert {name: len(row) for name, row in TABLE.items()} == {client.name: 10 for client in CLIENTS}
