"""Every dialect against everything that can happen to a request, in one table."""

import json
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
Note = Callable[[str, str], None]


@pytest.fixture
def note(client: Client, record_property: Callable[[str, object], None]) -> Note:
    """One cell of the table that is shown at the end of the run."""
    return lambda column, said: record_property("cell", ["every dialect, every ending", client.name, column, said])


@pytest.fixture(params=CLIENTS, ids=lambda c: c.name)
def client(request: pytest.FixtureRequest) -> Client:
    assert isinstance(request.param, Client)
    return request.param


#: micro-credits: 1.5 a second at 480p, 2.5 at 720p. Tiny clips have 17 frames at 16 fps; apixo bills five seconds at
#: least, crun the second that the clip has
PRICES = dict.fromkeys(("kie", "wiro", "openai", "selfhosted"), 1_593_750) | {"apixo": 7_500_000, "crun": 2_500_000}


def test_success(client: Client, note: Note, caller: Make, worker: Worker) -> None:
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
    note("success", "200")


def test_failure(client: Client, note: Note, caller: Make, worker: Worker) -> None:
    alice = caller("alice")
    task = client.made(alice)
    worker.spoil()
    report = client.told(alice, task)
    assert report.state is State.FAILED
    assert report.fault is not None
    assert "no person in the clip" in report.fault.message
    assert report.urls == ()
    note("failure", str(report.fault.code))


def test_cancel(client: Client, note: Note, caller: Make, worker: Worker) -> None:
    if client.cancel is None:
        note("cancel", "-")
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
    note("cancel", "200")


def test_unknown_and_foreign_ids_are_one_and_the_same(client: Client, note: Note, caller: Make, worker: Worker) -> None:
    alice, bob = caller("alice"), caller("bob")
    theirs = client.made(bob)
    answers = [client.look(alice, task) for task in (client.unknown, theirs)]
    for column, answer in zip(("unknown-id", "foreign-id"), answers, strict=True):
        assert isinstance(client.error(answer.status_code, answer.json, answer.headers), NotFound)
        note(column, _code(answer))
    assert answers[0].status_code == answers[1].status_code
    assert str(answers[0].json).replace(client.unknown, "") == str(answers[1].json).replace(theirs, "")
    if client.cancel is not None:
        answer = client.ask(alice, client.cancel(theirs))
        assert isinstance(client.error(answer.status_code, answer.json, answer.headers), NotFound)
    assert client.told(bob, theirs).state is State.QUEUED


def test_bad_key(client: Client, note: Note, caller: Make, worker: Worker) -> None:
    alice = caller("alice")
    for key in ("", "wrong", alice.key[:-1]):
        stranger = Caller(alice.client, "nobody", key)
        for answer in (client.submit(stranger), client.look(stranger, client.unknown)):
            assert answer.status_code == 401
            assert client.envelope(answer.json)
            assert isinstance(client.error(401, answer.json, answer.headers), Unauthorized)
    note("bad-key", _code(answer))


def test_no_credit_and_settlement(
    client: Client, note: Note, caller: Make, worker: Worker, parts: Services, files: str
) -> None:
    alice = caller("alice")
    parts.ledger.topup("alice", 1, "almost nothing")
    # what is animated costs by the length of its clip, which is fetched before the price is named
    body = json.loads(json.dumps(client.body).replace("https://example.com", files))
    answer = client.submit(alice, body=body)
    assert isinstance(client.error(answer.status_code, answer.json, answer.headers), PaymentRequired)
    note("no-credit", _code(answer))
    if client.name in ("apixo", "crun"):
        answer = client.submit(alice, body=json.loads(json.dumps(body).replace("motion.mp4", "missing.mp4")))
        assert isinstance(client.error(answer.status_code, answer.json, answer.headers), InvalidRequest)
    parts.ledger.topup("alice", 100_000_000)
    client.made(alice, body=body)
    held = parts.ledger.credit("alice").held
    assert held == PRICES[client.name]
    worker.render()
    after = parts.ledger.credit("alice")
    assert (after.balance, after.held) == (100_000_001 - held, 0)
    client.made(alice, body=body)
    worker.spoil()
    assert parts.ledger.credit("alice") == after
    kinds = [str(line.kind) for line in parts.ledger.statement("alice")]
    assert kinds == ["topup", "topup", "hold", "settle", "hold", "release"]


def test_over_rate_and_too_many_open(client: Client, note: Note, caller: Make, worker: Worker) -> None:
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
    note("over-rate", _code(answer))


def test_bad_input(client: Client, note: Note, caller: Make, worker: Worker) -> None:
    alice = caller("alice")
    for body in (client.bad, {}):
        answer = client.submit(alice, body=body)
        assert answer.status_code in (200, 400, 422)
        assert isinstance(client.error(answer.status_code, answer.json, answer.headers), InvalidRequest)
        assert client.envelope(answer.json)
    note("bad-input", _code(answer))


def test_callback(client: Client, note: Note, caller: Make, worker: Worker, parts: Services, settings: Settings,
                  receivers: Callable[..., Receiver]) -> None:  # fmt: skip
    if not client.callback:
        note("callback", "-")
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
    note("callback", "signed")


def _code(answer: object) -> str:
    """HTTP status, and the code of the body where it says something else."""
    status, body = answer.status_code, answer.json  # type: ignore[attr-defined]
    inner = body.get("code") if isinstance(body, dict) else None
    if isinstance(body, dict) and body.get("errors") and isinstance(body["errors"][0], dict):
        inner = body["errors"][0].get("code")
    return str(status) if inner in (None, status) else f"{status}/{inner}"
