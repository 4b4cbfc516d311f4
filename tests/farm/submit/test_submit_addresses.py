"""Inputs behind URLs: fetched while the caller waits, or left to the io worker."""

import socket
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from bad_servers import Script, Serve, page
from redis import Redis
from submit_parts import MODEL, Woken, pixels, png

from farm.config import Settings
from farm.guard import Guard
from farm.intake.intake import Intake
from farm.io_worker.take_in import TakeIn, outage_pause_s
from farm.jobs.draft import Draft, Source
from farm.jobs.errors import AddressRefused, AddressUnreachable, InvalidRequest, RequestError, TooLarge
from farm.jobs.job import Job
from farm.jobs.states import State
from farm.ledger.ledger import INTAKE_POOL, Ledger
from farm.ledger.outcomes import CancelOutcome
from farm.storage.store import Store
from farm.submission.submit import Submissions
from models.catalog import MODELS

PICTURE = png(96, 64)


@pytest.fixture
def home(settings: Settings) -> Settings:
    """A farm that may fetch from this machine, and does not wait for long."""
    limits = {
        "read_s": 0.2,
        "total_s": 0.6,
        "max_image_bytes": 100_000,
        "sync_fetches": 2,
        "fetch_pause_s": 0.01,
        "outage_s": 0,
    }
    intake = settings.intake.model_copy(update={"allow_networks": ("127.0.0.0/8",), **limits})
    return settings.model_copy(update={"intake": intake})


@pytest.fixture
def submissions(home: Settings, ledger: Ledger, store: Store, woken: Woken) -> Submissions:
    return Submissions(home, ledger, store, woken)


def draft(url: str) -> Draft:
    return Draft("x", model=MODEL, inputs={"image": Source(url=url)})


def found(ledger: Ledger, job_id: str) -> Job:
    job = ledger.find(job_id)
    assert job is not None
    return job


def test_a_picture_is_fetched_while_the_caller_waits(
    submissions: Submissions, ledger: Ledger, store: Store, serve: Serve
) -> None:
    server = serve(page(PICTURE))
    drafts = [draft(server.url("/a.txt"))] * 3
    jobs = [found(ledger, one.id) for one in submissions.submit("ada", drafts, wait_inputs=True)]
    assert [job.state for job in jobs] == [State.QUEUED] * 3
    ref = jobs[0].spec.inputs["image"]
    assert (ref.width, ref.height, ref.url) == (96, 64, None)
    assert pixels(store.get_bytes(ref.key or "", limit=100_000)) == pixels(PICTURE)
    # the same address is asked once
    assert len(server.requests) == 1


def silent(peer: object, head: bytes) -> None:
    threading.Event().wait(2)  # as long as the guard has patience, and then some


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        (page(b"hello"), InvalidRequest, "text file"),
        (page(PICTURE[:-500]), InvalidRequest, "cut off"),
        (page(b""), InvalidRequest, "empty"),
        (page(bytes(100_001)), TooLarge, "100000 bytes"),
        (page(b"", "302 Found", Location="http://10.0.0.1/"), AddressRefused, "not public"),
        (page(b"secret", "404 Not Found"), AddressUnreachable, "404"),
        (silent, AddressUnreachable, "in time"),
    ],
)
def test_what_is_wrong_behind_an_address_is_told_at_once(
    submissions: Submissions, redis: Redis, serve: Serve, script: Script, error: type[RequestError], says: str
) -> None:
    with pytest.raises(error, match=says) as raised:
        submissions.submit("ada", [draft(serve(script).url())], wait_inputs=True)
    assert raised.value.field == "image"
    assert list(redis.scan_iter("wf:job:*")) == []


def test_who_does_not_wait_is_told_only_what_is_plain(
    submissions: Submissions, ledger: Ledger, serve: Serve, woken: Woken
) -> None:
    server = serve(page(PICTURE))
    (admitted,) = submissions.submit("ada", [draft(server.url())], wait_inputs=False)
    job = found(ledger, admitted.id)
    assert (job.state, job.spec.inputs["image"].url) == (State.WAITING, server.url())
    assert server.requests == []
    for url in ("http://10.0.0.1/", "file:///etc/passwd", "http://u:p@127.0.0.1/"):
        with pytest.raises(AddressRefused) as raised:
            submissions.submit("ada", [draft(url)], wait_inputs=False)
        assert raised.value.field == "image"


def test_too_many_fetches_at_once_are_left_to_the_io_worker(
    submissions: Submissions, ledger: Ledger, serve: Serve
) -> None:
    server = serve(page(PICTURE))
    with submissions.intake.fetch_slot("bob") as first, submissions.intake.fetch_slot("eve") as second:
        assert (first, second) == (True, True)
        (admitted,) = submissions.submit("ada", [draft(server.url())], wait_inputs=True)
        assert found(ledger, admitted.id).state is State.WAITING
    # and so are many addresses in one request
    many = submissions.submit("ada", [draft(server.url(f"/{n}")) for n in range(3)], wait_inputs=True)
    assert {found(ledger, one.id).state for one in many} == {State.WAITING}
    assert server.requests == []
    (admitted,) = submissions.submit("ada", [draft(server.url())], wait_inputs=True)
    assert found(ledger, admitted.id).state is State.QUEUED


# --- the io worker's part


def waiting(submissions: Submissions, ledger: Ledger, url: str, **more: object) -> str:
    asked = replace(draft(url), **more)  # type: ignore[arg-type]
    (admitted,) = submissions.submit("ada", [asked], wait_inputs=False)
    return admitted.id


@pytest.fixture
def take_in(ledger: Ledger, store: Store, home: Settings, woken: Woken) -> Callable[[], None]:
    def take_in() -> None:
        claim = ledger.claim(INTAKE_POOL, "io-1")
        assert claim is not None
        TakeIn(home, ledger, store, woken).run(claim)

    return take_in


@pytest.mark.parametrize(
    ("more", "size"),
    [
        # 256 x 256 pixels of the picture's 3:2, in steps of 32
        ({}, (320, 192)),
        ({"resolution": "480p"}, (768, 512)),
        ({"resolution": "480p", "aspect": 1.0}, (608, 608)),
        ({"width": 96}, (96, 256)),
    ],
)
def test_a_waiting_job_gets_its_picture_and_its_size(
    submissions: Submissions,
    ledger: Ledger,
    store: Store,
    serve: Serve,
    woken: Woken,
    take_in: Callable[[], None],
    more: dict[str, object],
    size: tuple[int, int],
) -> None:
    job_id = waiting(submissions, ledger, serve(page(PICTURE)).url(), **more)
    woken.permits.clear()
    take_in()
    job = found(ledger, job_id)
    ref = job.spec.inputs["image"]
    assert (job.state, ref.url, ref.width, ref.height, ref.content_type) == (State.QUEUED, None, 96, 64, "image/png")
    assert pixels(store.get_bytes(ref.key or "", limit=100_000)) == pixels(PICTURE)
    assert ((job.spec.width, job.spec.height), job.spec.picture_area) == (size, None)
    assert [permit.pool for permit in woken.permits] == ["default"]
    # what the same request would have become with a caller who waits
    assert ledger.claim("default", "w1") is not None


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        (page(b"hello"), "invalid_input", "image: the file is a text file"),
        (page(png(1600, 100)[:90_000]), "invalid_input", "cut off"),
        (page(bytes(100_001)), "input_refused", "100000 bytes"),
        (page(b"", "302 Found", Location="http://169.254.169.254/"), "input_refused", "not public"),
        (page(b"gone", "410 Gone"), "input_unreachable", "answered 410"),
        (page(b"busy", "503 Busy"), "input_unreachable", "answered 503"),
        (silent, "input_unreachable", "in time"),
    ],
)
def test_a_bad_input_fails_the_job_with_its_reason(
    submissions: Submissions,
    ledger: Ledger,
    home: Settings,
    serve: Serve,
    take_in: Callable[[], None],
    script: Script,
    code: str,
    says: str,
) -> None:
    server = serve(script)
    job_id = waiting(submissions, ledger, server.url())
    take_in()
    job = found(ledger, job_id)
    assert (job.state, job.error_code) == (State.FAILED, code)
    assert says in (job.error_message or "")
    passing = code == "input_unreachable" and "410" not in says
    assert len(server.requests) == (home.intake.fetch_tries if passing else 1)


def test_a_picture_too_long_for_the_model_fails_the_job(
    submissions: Submissions,
    ledger: Ledger,
    serve: Serve,
    take_in: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = MODELS[MODEL]
    monkeypatch.setitem(MODELS, MODEL, replace(model, limits=replace(model.limits, min_side=128)))
    job_id = waiting(submissions, ledger, serve(page(png(640, 40))).url())
    take_in()
    job = found(ledger, job_id)
    assert (job.state, job.error_code) == (State.FAILED, "invalid_input")
    assert "crop it" in (job.error_message or "")


def test_trouble_that_passes_is_waited_out(
    submissions: Submissions, ledger: Ledger, serve: Serve, take_in: Callable[[], None]
) -> None:
    scripts = iter([page(b"", "503 Busy"), page(PICTURE)])

    def busy_once(peer: socket.socket, head: bytes) -> None:
        next(scripts)(peer, head)

    job_id = waiting(submissions, ledger, serve(busy_once).url())
    take_in()
    assert found(ledger, job_id).state is State.QUEUED


def test_an_uplink_that_is_away_for_a_moment_fails_nobody(
    submissions: Submissions, ledger: Ledger, redis: Redis, store: Store, home: Settings, serve: Serve, woken: Woken
) -> None:
    answers = [page(b"", "503 Busy")]

    def answer(peer: socket.socket, head: bytes) -> None:
        answers[-1](peer, head)

    jobs = [waiting(submissions, ledger, serve(answer).url()) for _ in range(3)]
    settings = home.model_copy(update={"intake": home.intake.model_copy(update={"outage_s": 20.0})})

    def take_all_in() -> None:
        while claim := ledger.claim(INTAKE_POOL, "io-1"):
            TakeIn(settings, ledger, store, woken).run(claim)

    take_all_in()
    for job in (found(ledger, one) for one in jobs):
        assert (job.state, job.attempts_used) == (State.WAITING, 0)
        assert job.not_before_ms is not None
    answers.append(page(PICTURE))
    make_due(redis)
    take_all_in()
    assert {found(ledger, one).state for one in jobs} == {State.QUEUED}


def test_an_address_that_never_answers_fails_its_job_in_the_end(
    submissions: Submissions, ledger: Ledger, redis: Redis, store: Store, home: Settings, serve: Serve, woken: Woken
) -> None:
    job_id = waiting(submissions, ledger, serve(page(b"", "503 Busy")).url())
    settings = home.model_copy(update={"intake": home.intake.model_copy(update={"outage_s": 20.0})})
    for _ in range(4):  # 5, 10 and 5 s
        claim = ledger.claim(INTAKE_POOL, "io-1")
        assert claim is not None
        TakeIn(settings, ledger, store, woken).run(claim)
        make_due(redis)
    job = found(ledger, job_id)
    assert (job.state, job.error_code, job.attempts_used) == (State.FAILED, "input_unreachable", 1)


def test_pauses_grow_and_add_up() -> None:
    pauses = [outage_pause_s(attempt, 300.0) for attempt in range(1, 11)]
    assert pauses == [5, 10, 20, 40, 60, 60, 60, 45, None, None]
    assert outage_pause_s(1, 0.0) is None


def make_due(redis: Redis) -> None:
    """As if the pauses were over."""
    for job_id in redis.zrange(f"wf:delayed:{INTAKE_POOL}", 0, -1):
        redis.zadd(f"wf:delayed:{INTAKE_POOL}", {job_id: 0})


def test_a_cancel_during_intake_stays_cancelled(
    submissions: Submissions, ledger: Ledger, store: Store, home: Settings, serve: Serve, woken: Woken
) -> None:
    job_id = waiting(submissions, ledger, serve(page(PICTURE)).url())
    claim = ledger.claim(INTAKE_POOL, "io-1")
    assert claim is not None
    assert ledger.cancel("ada", job_id) is CancelOutcome.CANCELLED
    TakeIn(home, ledger, store, woken).run(claim)
    assert found(ledger, job_id).state is State.CANCELLED


def test_a_receiver_that_does_not_resolve_now_is_no_reason_to_refuse(
    home: Settings, ledger: Ledger, store: Store, woken: Woken
) -> None:
    """What is for ever forbidden is refused; who is not there yet may be when the job is over."""

    def resolver(name: str, _timeout_s: float) -> list[str]:
        if name == "inside.example":
            return ["10.0.0.1"]
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    intake = Intake(home, store, Guard(home.intake, resolver=resolver))
    submissions = Submissions(home, ledger, store, woken, intake=intake)
    url = "https://later.example/hook"
    made = submissions.submit("ada", [Draft("x", model=MODEL, webhook_url=url)], wait_inputs=True)
    assert found(ledger, made[0].id).webhook_url == url
    bad = ("https://inside.example/hook", "https://10.0.0.1/hook", "ftp://later.example/", "https://u:p@x.example/")
    for forbidden in bad:
        with pytest.raises(InvalidRequest) as refused:
            submissions.submit("ada", [Draft("x", model=MODEL, webhook_url=forbidden)], wait_inputs=True)
        assert refused.value.field == "webhook_url"
    with pytest.raises(InvalidRequest):
        submissions.submit("ada", [draft("https://later.example/a.png")], wait_inputs=True)


def test_all_inputs_of_a_job_share_one_time(
    ledger: Ledger, redis: Redis, store: Store, home: Settings, serve: Serve, woken: Woken
) -> None:
    """`job_s`: a server that says nothing is asked once, and not for each try and each input with a time of its own."""
    server = serve(silent)
    inputs = {"image": Source(url=server.url("/1")), "last_image": Source(url=server.url("/2"))}
    asked = Draft("x", model="wan2.2-i2v-a14b-tiny", inputs=inputs)
    (admitted,) = Submissions(home, ledger, store, woken).submit("ada", [asked], wait_inputs=False)
    limits = {"job_s": 0.3, "read_s": 30.0, "total_s": 30.0, "fetch_tries": 5, "outage_s": 60.0}
    impatient = home.model_copy(update={"intake": home.intake.model_copy(update=limits)})
    claim = ledger.claim(INTAKE_POOL, "io-1")
    assert claim is not None
    TakeIn(impatient, ledger, store, woken).run(claim)
    assert len(server.requests) == 1
    job = found(ledger, admitted.id)
    assert (job.state, job.attempts_used) == (State.WAITING, 0)
    assert job.not_before_ms is not None
