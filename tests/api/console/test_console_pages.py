"""What people see in the console and do there, asked as a browser asks."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from redis import Redis

from api import live_changes
from api.app import create_app
from api.console import filters, words
from api.console.live import changes
from api.console.submit import unpaid
from api.live_changes import LivePage, folded
from api.services import Services
from api.streams import COMMENT, frame
from farm.config import Settings
from farm.jobs.batch import ActKind
from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.job import JobEvent
from farm.jobs.states import HoldReason
from farm.ledger import Ledger, SwitchKind
from tests.api.api_parts import TINY, Caller, Hand
from tests.api.batch_api_parts import ndjson, send
from tests.api.console.console_parts import Browser, found
from tests.api.gateway_thread import served
from tests.conftest import wait_until


@pytest.fixture
def here(alice: Caller, browser: Callable[[Caller], Browser]) -> Browser:
    return browser(alice)


def ids(page: str) -> list[str]:
    return [part[:36] for part in page.split('data-job="')[1:]]


def test_each_filter_shows_its_jobs_and_pages_go_on(
    alice: Caller, here: Browser, hand: Hand, ledger: Ledger, parts: Services
) -> None:
    jobs = [alice.submit(f"shot {n}", label="even" if n % 2 == 0 else "odd")["id"] for n in range(6)]
    claim = hand.claim()
    ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.ENGINE_ERROR, "once"))
    ledger.hold([jobs[1], jobs[2]], HoldReason.APPROVAL)
    ledger.hold([jobs[2], jobs[3]], HoldReason.PAUSED)
    alice.post(f"/v1/jobs/{jobs[4]}/cancel")
    newest = jobs[::-1]
    shown = {
        "": newest,
        "cancelled": [jobs[4]],
        "approval": [jobs[2], jobs[1]],
        "paused": [jobs[3], jobs[2]],
        "held": [jobs[3], jobs[2], jobs[1]],
        "parked": [],
        "retrying": [claim.job.id],
        "submit_unknown": [],
        "queued": [one for one in newest if one != jobs[4]],
    }
    for word, expected in shown.items():
        assert ids(here.get("/jobs", query_string={"show": word}).text) == expected, word
    # all that is queued is paused now, whoever did it; how many there are nobody counts
    ledger.pause(SwitchKind.POOL, "default", who="an operator", why="a test")
    parts.pauses.changed()
    kept = here.get("/jobs?show=paused")
    assert ids(kept.text) == shown["queued"]
    assert ("Paused by an operator" in kept.text, 'data-count="paused"' in kept.text) == (True, False)
    assert ids(here.get("/jobs?show=held").text) == shown["queued"]
    ledger.resume(SwitchKind.POOL, "default", who="an operator", why="a test")
    parts.pauses.changed()
    assert ids(here.get("/jobs?label=odd&show=held").text) == [jobs[3], jobs[1]]
    page = here.get("/jobs?label=even&view=tiles").text
    assert ids(page) == newest[1::2]
    assert "3 of" not in page
    assert here.get("/jobs?show=nonsense").status_code == 422
    chosen = filters.JobFilter("held")
    with here.client.application.test_request_context():
        first = filters.page("alice", chosen, limit=2)
        assert [job.id for job in first.jobs] == [jobs[3], jobs[2]]
        assert [job.id for job in filters.page("alice", chosen, cursor=first.cursor, limit=2).jobs] == [jobs[1]]


def test_a_batch_that_is_kept_back_says_so_and_why(
    alice: Caller, here: Browser, ledger: Ledger, parts: Services
) -> None:
    batch = send(alice, ndjson({"prompt": "a fox"}, {"prompt": "a hare"}), hold_after=1).json["id"]
    pages = ("/batches", f"/jobs?batch={batch}")
    assert "Needs approval: 1" in here.get(pages[0]).text
    said = "by an operator"
    assert [said in here.get(page).text for page in pages] == [False, False]
    ledger.pause(SwitchKind.LANE, TINY, who="an operator", why="a test")
    parts.pauses.changed()
    assert [said in here.get(page).text for page in pages] == [True, True]
    assert f"the model {TINY}" in here.get(pages[1]).text


def facts(page: str) -> dict[str, str]:
    """What a page's lists of terms say, as text."""
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page, re.DOTALL)
    return {term: re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", said)).strip() for term, said in pairs}


def test_a_batch_says_above_its_jobs_how_far_it_is_and_what_holds_it(
    alice: Caller, here: Browser, hand: Hand, ledger: Ledger
) -> None:
    shots = [{"prompt": f"shot {n}"} for n in range(5)]
    batch = send(alice, ndjson(*shots), hold_after=3).json["id"]
    claims = [hand.claim() for _ in range(2)]
    hand.finish(claims[0])
    ledger.fail(claims[1].job.id, claims[1].attempt, JobFault(FaultCode.INVALID_INPUT, "a bad picture"))
    ledger.begin_act("act_1", "alice", batch, ActKind.PAUSE)
    for address in (f"/jobs?batch={batch}", f"/jobs/head?batch={batch}"):
        page = here.get(address).text
        told = facts(page)
        assert (told["Done"], told["Failed"], told["Needs approval"]) == ("1 of 5 jobs", "1", "2")
        assert told["Under way"] == "Pause 0 of 5 jobs looked at, 0 changed"
        assert "data-under-way" in page
        assert "Ends about" not in told
    assert "Pause is under way: 0 changed" in here.get("/batches").text
    while ledger.step_act("act_1")[0]:
        pass
    told = facts(here.get(f"/jobs/head?batch={batch}").text)
    assert (told["Paused"], "Under way" in told) == ("3", False)
    assert "Paused: 3" in here.get("/batches").text
    here.post("/acts/cancel", {"batch": batch})
    page = here.get("/batches").text
    assert '<span class="chip failed">Ended</span><small>1 of 5 done, 1 failed, 3 cancelled<' in page
    assert "Ended" in facts(here.get(f"/jobs/head?batch={batch}").text)


def test_a_retry_keeps_to_the_rate_of_submissions(
    caller: Callable[..., Caller], browser: Callable[[Caller], Browser], parts: Services, hand: Hand, redis: Redis
) -> None:
    alice = caller("alice", rate_per_minute=1, rate_burst=6)
    # nothing comes back while the test runs
    redis.hset("wf:tenant:alice", "rate_per_minute", 0.001)
    here, jobs = browser(alice), [alice.submit()["id"] for _ in range(2)]
    batch = send(alice, ndjson({"prompt": "a fox"})).json["id"]
    for _ in range(3):
        claim = hand.claim()
        parts.ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, "a bad picture"))
    assert alice.post(f"/v1/batches/{batch}/retry").status_code == 200
    told = here.post("/acts/retry", {"id": jobs}).json
    assert (told["done"], told["refused"]) == (2, 0)
    for path in (f"/jobs/{jobs[0]}/retry", "/acts/retry"):
        assert here.post(path, {"batch": batch}).status_code == 429
    told = here.post("/acts/retry", {"id": jobs}).json
    assert (told["done"], told["refused"]) == (0, 2)
    assert told["why"] == ["more than 6 submissions at once; the rate recovers with time"]
    assert alice.post(f"/v1/batches/{batch}/retry").status_code == 429


def test_an_act_that_stopped_says_why(alice: Caller, here: Browser, hand: Hand, parts: Services) -> None:
    batch = send(alice, ndjson({"prompt": "a fox"}, {"prompt": "a hare"})).json["id"]
    for _ in range(2):
        claim = hand.claim()
        parts.ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, "a bad picture"))
    parts.tenants.set("alice", max_open=1)
    here.post("/acts/retry", {"batch": batch})
    assert facts(here.get(f"/jobs?batch={batch}").text)["Retry stopped"] == "1 changed, then no more jobs may be open"


def test_a_job_names_all_that_keeps_it_and_its_neighbours(
    alice: Caller, here: Browser, hand: Hand, ledger: Ledger, parts: Services
) -> None:
    chain = ndjson(
        {"id": "a", "prompt": "a fox", "name": "opening"},
        {"id": "b", "prompt": "it turns", "start_from": "last frame of a"},
    )
    batch = send(alice, chain, name="Fox, a chain").json["id"]
    first, second = (job["id"] for job in alice.get(f"/v1/batches/{batch}/jobs").json["data"])
    page = here.get(f"/jobs/{second}").text
    told = facts(page)
    assert (told["Follows"], told["Batch"]) == ("opening queued", "Fox, a chain")
    assert f'href="/console/jobs/{first}"' in page
    assert "the last frame of what it follows" in page
    # its owner and an operator keep it: who resumes it sees that this is not all
    ledger.hold([first], HoldReason.PAUSED)
    ledger.pause(SwitchKind.POOL, "default", who="an operator", why="a test")
    ledger.pause(SwitchKind.TENANT, "alice", who="an operator", why="a test")
    parts.pauses.changed()
    page = here.get(f"/jobs/{first}").text
    for said in ("somebody resumes it", "An operator paused the pool default", "An operator paused all of your jobs"):
        assert said in page
    ledger.release_held([first], HoldReason.PAUSED)
    for kind, name in ((SwitchKind.POOL, "default"), (SwitchKind.TENANT, "alice")):
        ledger.resume(kind, name, who="an operator", why="a test")
    parts.pauses.changed()
    claim = hand.claim()
    ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, "a bad picture"))
    here.post("/acts/retry", {"batch": batch})
    anew = alice.get(f"/v1/jobs/{first}").json["retried_as"]
    assert f'href="/console/jobs/{anew}">Another job</a>' in here.get(f"/jobs/{first}").text


def test_a_job_that_is_tried_again_says_so_in_words(alice: Caller, here: Browser, hand: Hand, ledger: Ledger) -> None:
    job = alice.submit()["id"]
    claim = hand.claim()
    ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.ENGINE_ERROR, "once"))
    page = here.get(f"/jobs/{job}").text
    assert "not_before" not in page
    assert facts(page)["Attempt"] == "1 · 1 of 3 failed"


def test_acts_change_what_fits_and_are_told_in_the_log(
    alice: Caller, here: Browser, hand: Hand, ledger: Ledger
) -> None:
    jobs = [alice.submit(label="act")["id"] for _ in range(4)]
    ledger.hold(jobs[:2], HoldReason.APPROVAL)
    assert here.get("/acts/approve/count?label=act").json == {"count": 2, "all": True, "filter": "All, label act"}
    told = here.post("/acts/approve", {"label": "act"}).json
    assert (told["done"], told["cursor"], told["past"]) == (2, None, "approved")
    assert all(not alice.get(f"/v1/jobs/{job}").json["held_for"] for job in jobs)
    assert here.post("/acts/pause", {"id": jobs[:1]}).json["done"] == 1
    assert here.post(f"/jobs/{jobs[0]}/resume").status_code == 303
    assert here.post(f"/jobs/{jobs[0]}/resume").status_code == 409
    assert here.post("/acts/cancel", {"label": "act"}).json["done"] == 4
    assert here.post("/acts/cancel", {"label": "act"}).json["done"] == 0
    again = here.post(f"/jobs/{jobs[0]}/retry").headers["Location"]
    assert here.post(f"/jobs/{jobs[0]}/retry").headers["Location"] == again
    made, first = (alice.get(f"/v1/jobs/{one}").json for one in (again.rpartition("/")[2], jobs[0]))
    assert made["state"] == "queued"
    same = ("prompt", "seed", "model", "width", "height", "frames", "label", "steps")
    assert [made[name] for name in same] == [first[name] for name in same]
    log = here.get("/activity").text
    assert log.count("<tr>") == 7
    assert "key " in log


def test_a_batch_is_a_contact_sheet_in_the_order_of_its_lines(
    alice: Caller, bob: Caller, here: Browser, browser: Callable[[Caller], Browser]
) -> None:
    lines = "\n".join(json.dumps({"prompt": f"shot {n}", "model": TINY}) for n in range(5))
    made = alice.post("/v1/batches?name=teaser", data=lines, headers={"Content-Type": "application/x-ndjson"})
    assert made.status_code == 201, made.text
    batch = made.json["id"]
    assert "teaser" in here.get("/batches").text
    page = here.get(f"/jobs?batch={batch}&view=tiles").text
    assert [page.index(f"shot {n}") for n in range(5)] == sorted(page.index(f"shot {n}") for n in range(5))
    counted = here.get(f"/acts/cancel/count?batch={batch}").json
    assert (counted["count"], counted["filter"]) == (5, "All, batch teaser")
    assert here.post("/acts/cancel", {"batch": batch}).json["done"] == 5
    assert browser(bob).get(f"/jobs?batch={batch}").status_code == 404
    assert browser(bob).post("/acts/cancel", {"batch": batch}).status_code == 404


def test_a_job_that_a_shortage_parks_says_so_until_when(alice: Caller, here: Browser, parts: Services) -> None:
    job = alice.submit()["id"]
    assert "Elsewhere" not in here.get(f"/jobs/{job}").text
    parts.ledger.note_decision(job, {"verdict": "parked", "why": "kie: credit until 12:00:00 UTC", "numbers": {}})
    assert "parked: kie: credit until 12:00:00 UTC" in here.get(f"/jobs/{job}").text


def test_the_form_says_what_is_wrong_and_what_it_costs(alice: Caller, here: Browser, ledger: Ledger) -> None:
    def checked(**form: Any) -> dict[str, Any]:
        answer = here.post("/submit/check", form).json
        assert isinstance(answer, dict)
        return answer

    wrong = checked(prompt="a fox", steps="many")
    assert wrong == {"errors": [{"field": "steps", "detail": "a whole number"}]}
    assert [one["field"] for one in checked(prompt="", fps="0")["errors"]] == ["prompt", "fps"]
    right = checked(prompt="a fox", model=TINY, steps="3", chosen="image")
    assert (right["estimate"]["task"], right["estimate"]["steps"]) == ("i2v", 3)
    assert (right["available"], right["errors"]) == (None, [])
    assert alice.get("/v1/jobs").json["data"] == []
    key = found('name="key" value="([^"]+)"', here.get("/submit").text)
    form = {"prompt": "a fox", "model": TINY, "steps": "3", "key": key, "label": "x"}
    sent = [here.post("/submit", form).headers["Location"] for _ in range(2)]
    assert sent[0] == sent[1]
    page = here.post("/submit", {**form, "aspect_ratio": "wide"})
    assert page.status_code == 422
    assert "a fox" in page.text
    assert "16:9" in page.text
    # once the studio has an account, what it cannot pay for is said as well
    ledger.topup("alice", 1_000_000)
    unknown = checked(prompt="a fox", model=TINY)
    assert (unknown["available"], unknown["held"]) == (1.0, None)
    assert "not known" in unknown["errors"][0]["detail"]
    assert unpaid(1_000_000, 1_000_000) is None
    assert unpaid(2_500_000, 1_000_000) == "This job needs 2.50 credits, and 1.00 are free."


def as_json(changed: Any, _passed_over: bool, _paused: bool) -> bytes:
    return json.dumps(list(changed)).encode() + b"\n"


def first_told(page: LivePage) -> Any:
    """What the page is told first, signs of life left out."""
    return next(json.loads(text.splitlines()[0]) for one in page.feed if (text := one.replace(COMMENT, b"")))


def test_a_page_follows_its_tenant_alone(alice: Caller, bob: Caller, here: Browser, parts: Services) -> None:
    page = LivePage(lambda: True)
    parts.live.join("alice", as_json, page)
    bob.submit()
    job = alice.submit()["id"]
    assert first_told(page) == [job]
    parts.live.leave("alice", page)


def test_a_page_that_is_signed_out_hears_it_and_others_go_on(
    alice: Caller, here: Browser, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_changes, "_CHECK_S", 0.0)
    gone, stays = LivePage(lambda: False, b"signed out"), LivePage(lambda: True)
    for page in (gone, stays):
        parts.live.join("alice", as_json, page)
    assert list(gone.feed) == [b"signed out"]
    parts.live.leave("alice", gone)
    job = alice.submit()["id"]
    assert first_told(stays) == [job]
    parts.live.leave("alice", stays)


def test_a_page_of_a_batch_follows_its_jobs_and_every_other_hears_of_the_batch(
    alice: Caller, here: Browser, hand: Hand, parts: Services
) -> None:
    made = alice.post(
        "/v1/batches", data=json.dumps({"prompt": "a shot"}), headers={"Content-Type": "application/x-ndjson"}
    )
    batch = made.json["id"]

    def told(changed: Any, passed_over: bool, paused: bool) -> bytes:
        return changes(changed, passed_over, {}, paused=paused)

    every, its = LivePage(lambda: True), LivePage(lambda: True)
    for stream, page in (("alice", every), (f"alice!{batch}", its)):
        parts.live.join(stream, told, page)
    claim = hand.claim()
    hand.finish(claim)

    def frames(page: LivePage) -> Iterator[dict[str, Any]]:
        for chunk in page.feed:
            for one in chunk.replace(COMMENT, b"").split(b"\n\n")[:-1]:
                yield json.loads(one.partition(b"data: ")[2])

    assert next(one for one in frames(its) if [job["word"] for job in one["jobs"]] == ["Done"])
    heard = next(frames(every))
    assert (heard["batches"], heard["jobs"]) == ([batch], [])
    for stream, page in (("alice", every), (f"alice!{batch}", its)):
        parts.live.leave(stream, page)
    page = here.get(f"/jobs/{claim.job.id}").text
    assert f"live?batch={batch}" in page
    assert "done, attempt 1" in page


def test_open_pages_take_no_threads_and_a_closed_one_frees_its_place(
    settings: Settings, alice: Caller, here: Browser
) -> None:
    # a reader of another test may not have noticed yet that its pages are closed
    others = set(threading.enumerate())
    app = create_app(Settings(**{**settings.model_dump(), "console": {"max_streams_each": 3}}))
    cookies = {"wanfarm_session": here.session or ""}
    with (
        served(app) as address,
        httpx.Client(base_url=address, cookies=cookies, trust_env=False) as browser,
        ExitStack() as kept_open,
    ):
        pages = [kept_open.enter_context(browser.stream("GET", "/console/live")) for _ in range(3)]
        heard = [page.iter_text() for page in pages]
        assert {next(one) for one in heard} == {frame("ready", {}).decode()}
        # one reads for all of them, none waits for one of them
        running = [thread.name for thread in set(threading.enumerate()) - others]
        assert (running.count("stream"), running.count("live")) == (0, 1)
        assert browser.get("/console/live").status_code == 429
        job = alice.submit()["id"]
        assert all(any(job in chunk for chunk in one) for one in heard)
        pages[0].close()
        wait_until(lambda: _is_let_in(browser), what="the place of a page that was closed")
    app.extensions["wanfarm"].redis.close()


def _is_let_in(browser: httpx.Client) -> bool:
    with browser.stream("GET", "/console/live") as page:
        return page.status_code == 200


def test_a_second_of_events_is_told_as_where_the_jobs_stand_now() -> None:
    events = [
        JobEvent("1-0", "a", {"state": "running", "attempt": 1, "phase": "denoising", "progress": 0.5, "step": 2}),
        JobEvent("2-0", "a", {"state": "queued", "attempt": 1, "retry_in_s": 2.0}),
        JobEvent("3-0", "b", {"state": "queued", "attempt": 0}),
        JobEvent("4-0", "c", {"state": "queued", "attempt": 0, "held_for": "approval"}),
    ]
    told = json.loads(changes(folded(events), False, {"": 3}).decode().partition("data: ")[2])
    assert {one["id"]: one["word"] for one in told["jobs"]} == {"a": "Retrying", "c": "Needs approval"}
    assert (told["fresh"], told["new"], told["more"]) == (["b"], 1, False)


def test_times_and_sizes_can_be_read() -> None:
    assert [words.span(s) for s in (None, 4, 89, 600, 7500, 200_000)] == [
        "–",
        "4 s",
        "89 s",
        "10 min",
        "2 h 5 min",
        "2 d 7 h",
    ]
    assert [words.size(n) for n in (None, 12, 1500, 2_000_000, 5e12)] == ["–", "12 B", "1.5 kB", "2.0 MB", "5.0 TB"]
    assert [words.credits(n) for n in (None, 0, 1_500_000, 3_062_500)] == ["–", "0.00", "1.50", "3.0625"]
    assert [words.plain(n) for n in (20_000, 600.0, 0.5, 1e9)] == ["20000", "600", "0.5", "1000000000"]
    assert [words.count(n, "job") for n in (0, 1, 1200)] == ["0 jobs", "1 job", "1,200 jobs"]
    assert words.paused("lane", f"{TINY}@bf16") == f"the lane {TINY}@bf16"
    assert [words.percent(part) for part in (0, 0.004, 0.286, 1)] == ["0 %", "0.4 %", "29 %", "100 %"]


def test_a_script_asks_for_longer_pieces_of_the_list_and_bookings_come_newest_first(
    alice: Caller, here: Browser, ledger: Ledger
) -> None:
    jobs = [alice.submit()["id"] for _ in range(53)]
    first = here.get("/jobs").text
    assert ids(first) == jobs[:2:-1]
    older = found(r'class="button older" rel="next" href="([^"]+)"', first)
    assert ids(here.get(f"/jobs{older}".replace("&amp;", "&")).text) == jobs[2::-1]
    assert ids(here.get("/jobs", headers={"X-Part": "1"}).text) == jobs[::-1]
    for credits in (5, 7):
        ledger.topup("alice", credits * 1_000_000)
    page = here.get("/usage").text
    assert page.index("+7.00") < page.index("+5.00")
    assert facts(page)["Balance"] == "12.00 credits"
