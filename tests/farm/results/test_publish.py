"""A result on its way out, whoever made it: only a commit makes its files the job's; nothing else is left behind."""

from pathlib import Path

import pytest
from redis import Redis

from farm.config import Settings
from farm.jobs.errors import FaultCode, JobFault
from farm.jobs.ids import new_job_id
from farm.jobs.job import Claim, NewJob
from farm.jobs.spec import JobSpec
from farm.ledger import CommitOutcome, Ledger
from farm.results.publish import FILES, Publication, verify
from farm.storage.object_keys import result_prefix
from farm.storage.store import Store
from models.planning.request import RenderResult
from models.provenance.signing import SigningPolicy


@pytest.fixture
def ledger(redis: Redis, settings: Settings) -> Ledger:
    return Ledger(redis, settings)


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.s3)


@pytest.fixture
def result(tmp_path: Path) -> RenderResult:
    for name in FILES:
        (tmp_path / name).write_bytes(name.encode() * 9)
    paths = [str(tmp_path / name) for name in FILES]
    return RenderResult(*paths, recipe={}, width=832, height=480, frames=81, fps=16.0, timings={})


@pytest.fixture
def claim(ledger: Ledger) -> Claim:
    """A job that a buyer has: it publishes as an engine's agent does."""
    spec = JobSpec("m", "t2v", "a fox", "", 832, 480, 81, 16, 2, 4.0, None, 12.0, 1)
    ledger.admit([NewJob(job_id := new_job_id(), "acme", spec, "gpu", "lane", 1.0, 60.0)])
    bought = ledger.buy(job_id, "burst", "n1", {"provider": "p"}, price=0)
    assert bought is not None
    return bought


def stored(store: Store, claim: Claim) -> list[str]:
    return sorted(found.key for found in store.list(result_prefix("acme", claim.job.id)))


def test_what_is_committed_can_be_downloaded_and_is_kept(
    claim: Claim, settings: Settings, ledger: Ledger, store: Store, result: RenderResult
) -> None:
    publication = Publication(claim, settings, ledger, store)
    artifacts = publication.upload(result, SigningPolicy.OFF)
    assert publication.commit(artifacts, gpu_s=0.0) is CommitOutcome.COMMITTED
    publication.discard()
    job = ledger.find(claim.job.id)
    assert job is not None
    assert job.artifacts == artifacts
    assert stored(store, claim) == sorted([artifacts.video, artifacts.poster, artifacts.recipe])
    assert store.get_bytes(artifacts.video, limit=1000) == Path(result.video).read_bytes()
    assert (artifacts.size, artifacts.seconds) == (81, 81 / 16)


def test_one_that_lost_its_lease_commits_nothing_and_leaves_nothing(
    claim: Claim, settings: Settings, ledger: Ledger, store: Store, result: RenderResult
) -> None:
    publication = Publication(claim, settings, ledger, store)
    artifacts = publication.upload(result, SigningPolicy.OFF)
    ledger.release(claim.job.id, claim.attempt)
    assert publication.commit(artifacts, gpu_s=0.0) is CommitOutcome.FENCED
    assert len(stored(store, claim)) == 3
    publication.discard()
    assert stored(store, claim) == []


def test_two_holders_of_one_attempt_share_no_file(
    redis: Redis, claim: Claim, settings: Settings, ledger: Ledger, store: Store, result: RenderResult
) -> None:
    """A Redis that lost its last second gave attempt 1 out twice: the first holder is refused, and what it uploads and
    removes is its own."""
    first = Publication(claim, settings, ledger, store)
    early = first.upload(result, SigningPolicy.OFF)
    redis.flushdb()
    ledger.admit([NewJob(claim.job.id, "acme", claim.job.spec, "gpu", "lane", 1.0, 60.0)])
    again = ledger.claim("gpu", "w2")
    assert again is not None
    assert again.attempt == claim.attempt
    second = Publication(again, settings, ledger, store)
    artifacts = second.upload(result, SigningPolicy.OFF)
    assert first.commit(early, gpu_s=1.0) is CommitOutcome.FENCED
    assert second.commit(artifacts, gpu_s=1.0) is CommitOutcome.COMMITTED
    assert first.commit(early, gpu_s=1.0) is CommitOutcome.FENCED
    first.discard()
    assert stored(store, claim) == sorted([artifacts.video, artifacts.poster, artifacts.recipe])


def test_what_is_told_to_stop_between_two_files_stops_there(
    claim: Claim, settings: Settings, ledger: Ledger, store: Store, result: RenderResult
) -> None:
    class Stopped(Exception):
        pass

    steps = iter([None, None, Stopped()])

    def check() -> None:
        if (why := next(steps)) is not None:
            raise why

    publication = Publication(claim, settings, ledger, store, check)
    with pytest.raises(Stopped):
        publication.upload(result, SigningPolicy.OFF)
    assert len(stored(store, claim)) == 2
    publication.discard()
    assert stored(store, claim) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("missing", [True, False])
def test_a_file_that_is_missing_or_empty_is_named(name: str, missing: bool, result: RenderResult) -> None:
    verify(result)
    path = Path(result.video).parent / name
    path.unlink() if missing else path.write_bytes(b"")
    with pytest.raises(JobFault) as raised:
        verify(result, "the provider")
    assert (raised.value.code, raised.value.message) == (FaultCode.BAD_OUTPUT, f"the provider made no {name}")


def test_a_result_that_must_be_signed_and_cannot_is_not_stored(
    claim: Claim, settings: Settings, ledger: Ledger, store: Store, result: RenderResult
) -> None:
    with pytest.raises(JobFault) as raised:
        Publication(claim, settings, ledger, store).upload(result, SigningPolicy.REQUIRED)
    assert raised.value.code is FaultCode.PROVENANCE_REQUIRED
    assert stored(store, claim) == []
