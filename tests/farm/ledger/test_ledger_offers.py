"""A worker claims what it offers; what it does not offer is left to others, untouched."""

from ledger_parts import POOL, admit, claimed, new_job
from redis import Redis

from farm.ledger import Ledger

FAR = 100


def test_a_model_that_a_worker_does_not_offer_is_left_to_others(ledger: Ledger) -> None:
    other, mine = admit(ledger, new_job(lane="wan-a@bf16", priority=9), new_job(lane="wan-b@bf16+fox:both:1"))
    assert claimed(ledger, models=["wan-b", "wan-c"]).job.id == mine
    assert ledger.claim(POOL, "w1", models=["wan-b", "wan-c"]) is None
    assert ledger.claim(POOL, "w1", models=[]) is None
    job = ledger.find(other)
    assert job is not None
    assert (job.attempt, job.attempts_used) == (0, 0)
    assert claimed(ledger, worker="w2", models=["wan-a"]).job.id == other


def test_a_worker_that_has_not_said_what_it_offers_takes_anything(ledger: Ledger) -> None:
    [job_id] = admit(ledger, new_job(lane="wan-a@bf16"))
    assert claimed(ledger, models=None).job.id == job_id


def test_it_finds_its_own_far_behind_a_batch_for_others(ledger: Ledger) -> None:
    admit(ledger, *[new_job(lane="wan-a@bf16") for _ in range(FAR)])
    admit(ledger, *[new_job("zoe", lane="wan-a@bf16") for _ in range(FAR)])
    [mine] = admit(ledger, new_job(lane="wan-b@bf16"))
    assert claimed(ledger, models=["wan-b"]).job.id == mine


def test_the_loaded_lane_is_preferred_among_what_is_offered(ledger: Ledger, redis: Redis) -> None:
    ids = admit(ledger, *[new_job(lane=lane) for lane in ("wan-a@bf16", "wan-b@bf16", "wan-c@bf16")])
    assert claimed(ledger, models=["wan-b", "wan-c"], loaded="wan-c@bf16").job.id == ids[2]
    # what was not for this worker was not passed over
    assert redis.hget(f"wf:job:{ids[0]}", "passes") is None
