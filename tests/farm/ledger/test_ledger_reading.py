"""What can be asked: jobs, pages, positions, counts, events."""

import threading

import pytest
from ledger_parts import ARTIFACTS, BROKE, admit, audit, claimed, new_job, spec
from redis import Redis

from farm.jobs.ids import new_job_id
from farm.jobs.states import State
from farm.ledger import Ledger


def ids_of_all_pages(ledger: Ledger, limit: int, **filters: object) -> list[str]:
    ids: list[str] = []
    cursor = None
    while True:
        page = ledger.page("acme", cursor=cursor, limit=limit, **filters)  # type: ignore[arg-type]
        assert len(page.jobs) <= limit
        ids += [job.id for job in page.jobs]
        cursor = page.cursor
        if cursor is None:
            return ids


def calls(redis: Redis, command: str) -> int:
    """How often the server ran a command, also within scripts."""
    stats = redis.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})
    return int(stats["calls"])


class TestOwnership:
    def test_a_foreign_job_is_nobodys(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job("other"))
        assert ledger.get("acme", job_id) is None
        assert ledger.find(job_id) is not None
        assert ledger.page("acme").jobs == ()
        assert sum(ledger.counts("acme").values()) == 0
        assert ledger.events("acme", after="0") == []

    @pytest.mark.parametrize("text", ["", "x", "../etc", "0" * 36, "*", "a\nb"])
    def test_what_is_no_id_is_not_found(self, ledger: Ledger, text: str) -> None:
        assert ledger.find(text) is None

    def test_many_in_the_order_asked_for(self, ledger: Ledger) -> None:
        one, two = admit(ledger, new_job(), new_job())
        asked = [two, new_job_id(), "no id", one, two]
        assert [job and job.id for job in ledger.find_many(asked)] == [two, None, None, one, two]


class TestPage:
    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 50])
    def test_newest_first_in_pieces_of_any_size(self, ledger: Ledger, limit: int) -> None:
        made = admit(ledger, *[new_job() for _ in range(6)])
        claimed(ledger)
        ledger.cancel("acme", made[3])
        assert ids_of_all_pages(ledger, limit) == made[::-1]

    def test_by_state(self, ledger: Ledger) -> None:
        made = admit(ledger, *[new_job() for _ in range(5)])
        claimed(ledger)
        ledger.cancel("acme", made[3])
        assert ids_of_all_pages(ledger, 2, states=[State.QUEUED]) == [made[4], made[2], made[1]]
        assert ids_of_all_pages(ledger, 2, states=[State.RUNNING, State.CANCELLED]) == [made[3], made[0]]
        assert ids_of_all_pages(ledger, 2, states=[State.FAILED]) == []

    def test_by_batch_model_and_dialect(self, ledger: Ledger) -> None:
        five = spec(model="wan2.2-ti2v-5b")
        made = admit(
            ledger,
            new_job(label="reel: 1", spec=five),
            new_job(label="reel: 2"),
            new_job(label="reel: 1", dialect="kie"),
            new_job(dialect="kie", spec=five),
        )
        claimed(ledger)
        assert ids_of_all_pages(ledger, 1, label="reel: 1") == [made[2], made[0]]
        assert ids_of_all_pages(ledger, 1, label="reel: 1", states=[State.RUNNING]) == [made[0]]
        assert ids_of_all_pages(ledger, 1, model="wan2.2-ti2v-5b") == [made[3], made[0]]
        assert ids_of_all_pages(ledger, 1, dialect="kie", model="wan2.2-ti2v-5b") == [made[3]]
        assert ledger.counts("acme", label="reel: 1") == dict.fromkeys(State, 0) | {State.QUEUED: 1, State.RUNNING: 1}

    @pytest.mark.parametrize("limit", [1, 2, 3, 50])
    def test_oldest_first(self, ledger: Ledger, limit: int) -> None:
        made = admit(ledger, *[new_job(dialect="kie") for _ in range(5)])
        admit(ledger, new_job())
        claimed(ledger)
        ledger.cancel("acme", made[3])
        assert ids_of_all_pages(ledger, limit, dialect="kie", oldest_first=True) == made
        assert ledger.ids("acme", dialect="kie", after=made[1], limit=2) == [made[0]]
        assert ledger.ids("acme", dialect="kie", after=made[1], limit=2, oldest_first=True) == made[2:4]
        assert sum(ledger.counts("acme", dialect="kie").values()) == 5

    def test_a_page_of_a_dialect_reads_its_own_length(self, ledger: Ledger, redis: Redis) -> None:
        kie = admit(ledger, *[new_job(dialect="kie") for _ in range(3)])
        admit(ledger, *[new_job() for _ in range(300)])
        before = calls(redis, "hgetall")
        assert [job.id for job in ledger.page("acme", dialect="kie", limit=2).jobs] == kie[:0:-1]
        assert calls(redis, "hgetall") - before <= 3

    def test_what_is_unlisted_is_in_no_list_of_its_dialect(self, ledger: Ledger) -> None:
        made = admit(ledger, *[new_job(dialect="openai") for _ in range(3)])
        claim = claimed(ledger)
        ledger.cancel("acme", claim.job.id)
        assert ledger.erase("acme", claim.job.id, unlist=True)
        assert ids_of_all_pages(ledger, 1, dialect="openai") == [one for one in made[::-1] if one != claim.job.id]
        assert ids_of_all_pages(ledger, 10) == made[::-1], "it is still among the tenant's jobs"
        assert audit(ledger) == {}
        ledger.fail(claim.job.id, claim.attempt, BROKE)
        assert len(ids_of_all_pages(ledger, 1, dialect="openai")) == 2
        found = ledger.get("acme", claim.job.id)
        assert found is not None
        assert (found.dialect, found.erased) == ("openai", True)
        assert audit(ledger) == {}

    def test_a_cursor_survives_what_happens_in_between(self, ledger: Ledger) -> None:
        made = admit(ledger, *[new_job() for _ in range(6)])
        first = ledger.page("acme", limit=2)
        for job_id in made:
            ledger.cancel("acme", job_id)
        admit(ledger, new_job())
        rest = ledger.page("acme", limit=10, cursor=first.cursor)
        assert [job.id for job in rest.jobs] == made[:4][::-1]

    def test_a_strange_cursor_starts_at_the_top(self, ledger: Ledger) -> None:
        made = admit(ledger, new_job())
        assert [job.id for job in ledger.page("acme", cursor="(+ [x").jobs] == made


class TestCounts:
    def test_of_a_tenant_and_of_all(self, ledger: Ledger) -> None:
        assert ledger.counts() == dict.fromkeys(State, 0)
        admit(ledger, new_job(), new_job(), new_job("other"), new_job("other", intake=True))
        claim = claimed(ledger)
        ledger.commit(claim.job.id, 1, ARTIFACTS, gpu_s=1)
        assert ledger.counts("acme")[State.SUCCEEDED] == 1
        assert ledger.counts() == dict.fromkeys(State, 0) | {
            **{State.WAITING: 1, State.QUEUED: 2, State.SUCCEEDED: 1},
        }


class TestPosition:
    def test_among_the_tenants_own(self, ledger: Ledger) -> None:
        admit(ledger, *[new_job("other") for _ in range(5)])
        made = admit(ledger, new_job(), new_job(), new_job(priority=9))
        jobs = [job for job in ledger.find_many(made) if job]
        assert [ledger.position(job) for job in jobs] == [1, 2, 0]

    def test_only_of_a_queued_job(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job())
        queued = ledger.find(job_id)
        claim = claimed(ledger)
        assert queued is not None
        assert ledger.position(claim.job) is None
        assert ledger.position(queued) is None  # it has moved on since it was read


class TestEvents:
    def test_resumable(self, ledger: Ledger) -> None:
        assert ledger.last_event_id("acme") == "0-0"
        one, two = admit(ledger, new_job(), new_job())
        seen = ledger.events("acme", after="0", count=1)
        assert [event.job for event in seen] == [one]
        assert [event.job for event in ledger.events("acme", after=seen[0].id)] == [two]
        assert ledger.events("acme", after=ledger.last_event_id("acme")) == []

    def test_of_one_job(self, ledger: Ledger) -> None:
        one, two = admit(ledger, new_job(label="b"), new_job())
        ledger.cancel("acme", one)
        assert [event.data for event in ledger.events("acme", after="0", job_id=one)] == [
            {"job": one, "state": "queued", "attempt": 0, "label": "b"},
            {
                **{"job": one, "state": "cancelled", "attempt": 0, "label": "b"},
                **{"error_code": "cancelled", "error_message": "cancelled by its owner"},
            },
        ]
        assert len(ledger.events("acme", after="0", job_id=two)) == 1

    def test_waiting_ends_with_the_event(self, ledger: Ledger) -> None:
        [job_id, other] = admit(ledger, new_job(), new_job())
        got: list[str] = []
        reader = threading.Thread(
            target=lambda: got.extend(
                event.data["state"]
                for event in ledger.events("acme", after="0", job_id=job_id, block_ms=10_000, count=1)
            )
        )
        reader.start()
        reader.join()
        assert got == ["queued"]
        start = ledger.last_event_id("acme")
        reader = threading.Thread(
            target=lambda: got.extend(
                event.data["state"] for event in ledger.events("acme", after=start, job_id=job_id, block_ms=30_000)
            )
        )
        reader.start()
        ledger.cancel("acme", other)  # not the one that it waits for
        ledger.cancel("acme", job_id)
        reader.join()
        assert got == ["queued", "cancelled"]

    def test_waiting_for_nothing_ends_in_time(self, ledger: Ledger) -> None:
        assert ledger.events("acme", after="$", block_ms=50) == []

    def test_only_about_ten_thousand_are_kept(self, ledger: Ledger, redis: Redis) -> None:
        [job_id] = admit(ledger, new_job())
        claimed(ledger)
        with redis.pipeline() as pipe:
            for _ in range(10_500):
                pipe.xadd("wf:events:acme", {"job": "x", "data": "{}"})
            pipe.execute()
        ledger.heartbeat(job_id, 1, phase="denoising", progress=0.5)
        assert redis.xlen("wf:events:acme") < 10_200


def test_a_reading_changes_nothing(ledger: Ledger, redis: Redis) -> None:
    [job_id] = admit(ledger, new_job())
    before = redis.info("persistence")["rdb_changes_since_last_save"]
    queued = ledger.find(job_id)
    assert queued is not None
    ledger.page("acme"), ledger.counts(), ledger.events("acme", after="0"), ledger.position(queued), ledger.workers()
    ledger.credit("acme"), ledger.statement("acme")
    assert redis.info("persistence")["rdb_changes_since_last_save"] == before


def test_what_admit_tells_is_what_would_be_read(ledger: Ledger) -> None:
    ledger.admit([new_job()])
    jobs = [
        new_job(priority=7, deadline_ms=2**43, predicted_s=0.0, label="reel", name="n", metadata={"a": "b"}),
        new_job(intake=True, webhook_url="https://example.com/", dialect="kie", dialect_data={"model": "m"}, hold=None),
        new_job(),
    ]
    admitted, _ = ledger.admit(jobs)
    assert [one.job for one in admitted] == ledger.find_many([job.id for job in jobs])
    assert [one.job.position for one in admitted if one.job] == [0, None, 2]
    again, _ = ledger.admit(jobs)
    assert [(one.created, one.job) for one in again] == [(True, None)] * 3
