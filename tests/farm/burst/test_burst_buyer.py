"""What is decided and said where nothing is bought: a dry run, and a shortage that all jobs share."""

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from burst_parts import POOL, PRICE, T2V, TENANT, BuyingFarm, mishap, new_job
from prometheus_client import CollectorRegistry
from redis import Redis

from api.app import create_app
from farm.burst.buyer import Buyer
from farm.burst.decision import QueuedJob
from farm.burst.decision_notes import DecisionNotes
from farm.burst.followers import Followers
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import SwitchKind
from monitoring.roles import ProcessRole, register
from tools.provider_simulator.simulator import Simulator

Farm = Callable[..., BuyingFarm]


def explained(here: BuyingFarm, job_id: str) -> Any:
    """As its owner reads it over HTTP."""
    tenants = here.context.tenants
    if tenants.get(TENANT) is None:
        tenants.create(TENANT)
    _, key = tenants.api_keys.create(TENANT)
    client = create_app(here.settings).test_client()
    answer = client.get(f"/v1/jobs/{job_id}/explain", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    return answer.json


def decided(verdict: str) -> float:
    register(ProcessRole.BURST, registry := CollectorRegistry())
    return registry.get_sample_value("wanfarm_burst_decisions_total", {"verdict": verdict}) or 0.0


def test_a_dry_run_tells_what_it_would_have_bought_for_how_much_and_buys_nothing(
    farm: Farm, kie: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "farm.burst")
    before = decided("would_buy")
    here = farm(dry_run=True)
    ids = here.admit(new_job("one"), new_job("two"))
    for job_id in ids:
        here.until(job_id, lambda job: here.ledger.decision(job.id), "a decision")
    told = explained(here, ids[0])["external"]
    assert (told["verdict"], told["provider"], told["numbers"]["price_usd"]) == ("would_buy", "kie", PRICE / 1e6)
    assert "kie wan/2-2-a14b-text-to-video-turbo (same_family) for 0.2000 dollars" in told["why"]
    assert decided("would_buy") >= before + 2
    assert {one.job: one.told["verdict"] for one in here.ledger.decisions()} == dict.fromkeys(ids, "would_buy")
    for job_id in ids:
        assert f"{job_id} would_buy: {told['why']}" in caplog.text
    # some looks later nothing was spent or sent, and a GPU of the farm's own may have them
    for _ in range(3):
        assert Buyer(here.context, Followers(1, 1)).look() == 0
    assert kie.ledger()["submits"] == 0
    assert here.ledger.purchases(0, 1 << 52) == []
    assert here.spent() == here.spent("provider kie") == here.spent(f"tenant {TENANT}") == (0, 0)
    assert here.context.gate.state("kie").accounts[0].in_use == 0
    claim = here.ledger.claim("gpu", "a GPU of our own")
    assert claim is not None
    assert claim.job.id in ids


@pytest.mark.parametrize("kind", ["credit", "maintenance", "busy"])
def test_a_shared_shortage_parks_what_would_be_bought_and_says_so_with_its_time(
    kind: str, farm: Farm, kie: Simulator, redis: Redis
) -> None:
    """It costs no job a retry, a GPU of the farm's own may have them all the same, and it is bought when it is over."""
    kie.faults.set([mishap("create", "refuse", kind=kind, retry_after=3600, times=1)])
    before = decided("parked")
    here = farm()
    ids, said = [], here.ledger.decision
    for prompt in ("one", "two"):
        ids += here.admit(new_job(prompt))
        here.until(ids[-1], lambda job: (said(job.id) or {}).get("verdict") == "parked", "a shortage")
    told = explained(here, ids[0])
    why = {"credit": "credit", "maintenance": "away", "busy": "busy"}[kind]
    assert re.fullmatch(rf"kie: {why} until \d\d:\d\d:\d\d UTC", told["external"]["why"])
    assert (told["held_for"], told["external"]["verdict"]) == ([], "parked")
    assert decided("parked") >= before + 2
    state = here.context.gate.state("kie")
    assert state.shortage == why
    assert [here.job(one).attempts_used for one in ids] == [0, 0]
    assert here.spent() == (0, 0)
    claim = here.ledger.claim("gpu", "a GPU of our own")
    assert claim is not None
    (other,) = set(ids) - {claim.job.id}
    # as if the time had passed
    for key in ("wf:provider:kie", "wf:provider:kie:key:main"):
        redis.hdel(key, "parked_until", "away_until", "cap", "slots")
    assert here.until_over(other).state is State.SUCCEEDED


def test_jobs_that_stay_hide_none_that_stands_behind_them(farm: Farm, kie: Simulator) -> None:
    """Two are looked at in a look, and the first five may not be bought."""
    here = farm(looked_at=2)
    ids = here.admit(*(new_job(f"{n}", external="never") for n in range(5)), new_job("behind"))
    assert here.until_over(ids[-1]).state is State.SUCCEEDED
    assert kie.ledger()["submits"] == 1
    said = here.ledger.decision
    for job_id in ids[:5]:
        here.until(job_id, lambda job: (said(job.id) or {}).get("verdict") == "stays", "a decision")


def test_a_cap_on_running_jobs_keeps_no_job_from_being_bought(farm: Farm) -> None:
    here = farm()
    here.context.tenants.create(TENANT)
    here.context.tenants.set(TENANT, max_running=1)
    (first,) = here.admit(new_job("here", external="never"))
    claim = here.ledger.claim("gpu", "a GPU of our own")
    assert claim is not None
    (second,) = here.admit(new_job("there"))
    assert here.until_over(second).state is State.SUCCEEDED
    assert here.job(second).purchase
    # bought ones count towards no cap, those at work here do
    (third,) = here.admit(new_job("not to be bought", external="never"))
    assert here.ledger.claim("gpu", "another") is None
    here.until(third, lambda job: (here.ledger.decision(job.id) or {}).get("verdict") == "stays", "a decision")
    told = explained(here, third)
    assert (told["binds"], told["external"]["verdict"]) == ("cap", "stays")
    assert told["rule"] == "at most 1 of your jobs may be at work at once; a bought one does not count"
    assert here.job(first).state is State.RUNNING


def test_of_a_tenant_at_its_cap_what_starts_here_in_time_stays(farm: Farm, kie: Simulator) -> None:
    """One at a time, 60 s each, and one is half done: they start after 30, 90 and 150 s, however many workers idle."""
    here = farm(after_s=100.0, until_share=1.0)
    here.context.tenants.create(TENANT)
    here.context.tenants.cap_in_pool(TENANT, POOL, 1)
    for worker in ("w1", "w2", "w3"):
        here.ledger.worker_seen(worker, POOL, WorkerStatus(models=(T2V,)), ttl_s=600)
    here.admit(new_job("here", external="never"))
    assert here.ledger.claim(POOL, "w1") is not None
    *stay, last = here.admit(*(new_job(f"{n}") for n in range(3)))
    assert here.until_over(last).state is State.SUCCEEDED
    assert [here.job(one).state for one in stay] == [State.QUEUED, State.QUEUED]
    assert kie.ledger()["submits"] == 1


def test_nothing_is_bought_for_a_tenant_that_an_operator_paused(farm: Farm, kie: Simulator) -> None:
    here = farm()
    assert here.ledger.pause(SwitchKind.TENANT, TENANT, who="ops", why="unpaid")
    (kept,) = here.admit(new_job())
    (other,) = here.admit(new_job(tenant="rival"))
    assert here.until_over(other).state is State.SUCCEEDED
    assert (here.job(kept).state, here.ledger.decision(kept)) == (State.QUEUED, None)
    assert kie.ledger()["submits"] == 1


def test_what_another_process_said_of_a_job_meanwhile_is_said_anew(farm: Farm, redis: Redis) -> None:
    here = farm(dry_run=True)
    (job_id,) = here.admit(new_job())
    said = here.ledger.decision
    here.until(job_id, lambda job: said(job.id), "a decision")
    # another had its turn, bought the job, and lost it again
    redis.set("wf:turn:buying", "another", px=500)
    here.ledger.note_decision(job_id, {"verdict": "bought", "why": "", "numbers": {}})
    here.until(job_id, lambda job: (said(job.id) or {}).get("verdict") == "would_buy", "the truth")


def test_a_thing_is_said_once_whatever_the_time_and_the_amount(farm: Farm) -> None:
    here = farm(paused=True)
    (job_id,) = here.admit(new_job())
    waiting, notes = QueuedJob(here.job(job_id), 60.0, 120.0, 5.0), DecisionNotes(here.ledger)
    for second in range(3):
        notes.say(waiting, "parked", f"kie: credit until 12:00:0{second} UTC")
    notes.say(waiting, "waits", "kie: the cap of farm is reached")
    assert [one.told["verdict"] for one in here.ledger.decisions()] == ["waits", "parked"]
