"""A result on its way out: verified, signed, uploaded under its attempt's own prefix, committed. Whoever made the files
(an engine of ours, a provider) holds the lease; only the commit makes them the job's (law 3)."""

import logging
from collections.abc import Callable
from pathlib import Path

from farm.claiming import retry
from farm.config import Settings
from farm.jobs.errors import FaultCode, JobFault, Unavailable
from farm.jobs.job import Artifacts, Claim
from farm.ledger import CommitOutcome, Ledger
from farm.results import provenance
from farm.storage.object_keys import result_key
from farm.storage.store import Store
from models.planning.request import RenderResult
from models.provenance.signing import SigningPolicy
from models.weights.digest import sha256_of

log = logging.getLogger(__name__)

#: the files of a result
FILES = {"video.mp4": "video/mp4", "poster.jpg": "image/jpeg", "recipe.json": "application/json"}


def verify(result: RenderResult, maker: str = "the engine") -> None:
    """JobFault bad_output where a file of the result is missing or empty."""
    for name, path in _paths(result).items():
        if not path.is_file() or path.stat().st_size == 0:
            raise JobFault(FaultCode.BAD_OUTPUT, f"{maker} made no {name}")


class Publication:
    """One attempt's result. `check` is called between the steps, and while a server is away, and may raise: then, as
    after every other end but a commit, `discard` removes what was uploaded."""

    def __init__(
        self, claim: Claim, settings: Settings, ledger: Ledger, store: Store, check: Callable[[], None] = lambda: None
    ) -> None:
        self._claim, self._settings, self._ledger, self._store, self._check = claim, settings, ledger, store, check
        self._uploaded: list[str] = []

    def upload(self, result: RenderResult, policy: SigningPolicy) -> Artifacts:
        """Sign the video as `policy` says, and store the files. JobFault provenance_required, or storage_failed where
        the store was away for lease.stuck_s."""
        provenance.sign(self._settings.provenance, policy, result)
        keys = {name: self._put(name, path) for name, path in _paths(result).items()}
        return Artifacts(
            video=keys["video.mp4"],
            poster=keys["poster.jpg"],
            recipe=keys["recipe.json"],
            size=Path(result.video).stat().st_size,
            sha256=sha256_of(Path(result.video)),
            width=result.width,
            height=result.height,
            frames=result.frames,
            fps=result.fps,
            seconds=result.frames / result.fps,
        )

    def commit(self, artifacts: Artifacts, *, gpu_s: float) -> CommitOutcome:
        """Asks until the ledger answers: from here on its answer is the truth, whatever a heartbeat beside it says."""
        self._check()
        outcome = retry.redis(
            lambda: self._ledger.commit(self._claim.job.id, self._claim.attempt, artifacts, gpu_s=gpu_s)
        )
        if outcome in (CommitOutcome.COMMITTED, CommitOutcome.ALREADY):
            self._uploaded.clear()
        return outcome

    def discard(self) -> None:
        """Remove what was uploaded and not committed. With the store away it is left to the sweeper."""
        if not self._uploaded:
            return
        try:
            self._store.delete(*self._uploaded)
            self._uploaded.clear()
        except Unavailable:
            log.warning("%s:%d: what it uploaded is left to the sweeper", self._claim.job.id, self._claim.attempt)

    def _put(self, name: str, path: Path) -> str:
        self._check()
        key = result_key(self._claim.job.tenant, self._claim.job.id, self._claim.attempt, name)
        self._uploaded.append(key)
        retry.store(lambda: self._store.put_file(key, path, FILES[name]), self._check, self._settings.lease.stuck_s)
        return key


def _paths(result: RenderResult) -> dict[str, Path]:
    paths = (result.video, result.poster, result.recipe_path)
    return {name: Path(path) for name, path in zip(FILES, paths, strict=True)}
