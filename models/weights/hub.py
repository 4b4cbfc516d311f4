"""Fetches weights from the hub: of a commit, never of a branch; only the needed files, never a pickle; a pull that
broke off is resumed. models.weights.weights checks what a folder holds.
"""

import errno
import fnmatch
import hashlib
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models import catalog
from models.catalog.model import Model, Network
from models.weights import weights
from models.weights.digest import sha256_of
from models.weights.weights import Lock, WeightsError

#: what came of files so far, in the folder that they are for
_PARTS = ".parts"
#: one connection to the hub's storage does not fill a fast line
_AT_ONCE = 4
#: the branch whose newest commit is asked for where the catalog names none
_NEWEST = "main"
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "LICENSE*", "*.md")


@dataclass(frozen=True)
class PullProgress:
    """Bytes of `what`, one of the things that are being fetched one after the other."""

    done_bytes: int
    total_bytes: int
    what: str = ""


Tell = Callable[[PullProgress], None]


@dataclass(frozen=True)
class _Source:
    """Which files of which repository. named: only these, and what they are called here."""

    what: str
    repo: str
    revision: str | None
    patterns: Sequence[str] = _WANTED
    named: Mapping[str, str] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        if Path(name).suffix in weights.PICKLES:
            return False
        return name in self.named if self.named else any(fnmatch.fnmatch(name, pattern) for pattern in self.patterns)


def pull(model: Model, models_dir: Path, revision: str | None, on_progress: Tell) -> Path:
    """Fetch a catalog model's weights into models_dir/<model id>, its base's and its networks' too; goes on where it
    was interrupted, and fetches nothing that is here.

    revision    a branch, tag or commit of the model's own repository. None: the commit that was pulled before, else the
                catalog's
    Raises WeightsError when the hub cannot be reached, lacks it, or the disk is too small.
    """
    if model.weights.tiny or model.weights.repo is None:
        raise WeightsError(f"{model.id} has no weights to fetch" + (": they are built" if model.weights.tiny else ""))
    if model.base is not None:
        folder = pull(catalog.get(model.base), models_dir, revision if not model.loras else None, on_progress)
        if not model.loras:
            return folder
    named = {lora.file or "": f"{lora.expert}.safetensors" for lora in model.loras}
    source = _Source(model.id, *source_of(model), named=named)
    folder = _fetch(source, models_dir / model.id, revision, on_progress)
    for network in model.looks_with:
        pull_network(network, models_dir, None, on_progress)
    return folder


def pull_network(network: Network, models_dir: Path, revision: str | None, on_progress: Tell) -> Path:
    """Fetch one network's weights into models_dir/preprocess. What somebody put there by hand is left as it is."""
    folder = models_dir / network.id
    if weights.ready(folder) and weights.lock_of(folder) is None:
        return folder
    source = _Source(network.id, *source_of(network), network.files)
    return _fetch(source, folder, revision, on_progress)


def source_of(entry: Model | Network) -> tuple[str, str | None]:
    """(repository, commit) of the catalog, which a first pull asks for when it is told no other; None: the newest."""
    if isinstance(entry, Network):
        return entry.repo, entry.revision
    first = entry.loras[0] if entry.loras else entry.weights
    return first.repo or "", first.revision


def folder_of(entry: Model | Network) -> str:
    """Its folder in the models' folder; that of its base for a model that renders with the base's weights."""
    return entry.id if isinstance(entry, Network) or entry.loras else entry.weights_id


def state_of(folder: Path) -> str:
    """A folder's state in words."""
    if (folder / weights.PULLING).is_file():
        return "not fetched to its end"
    if not weights.ready(folder):
        return "not here"
    return f"pulled at {commit[:12]}" if (commit := weights.revision_of(folder)) else "put here by hand"


def _fetch(source: _Source, folder: Path, explicit: str | None, on_progress: Tell) -> Path:
    """Bring a folder to the state of the hub at that commit; files of an earlier commit are removed."""
    before = weights.lock_of(folder)
    known = before.revision if before is not None and before.repo == source.repo else source.revision
    commit, listed = _listed(source, explicit or known or _NEWEST)
    _check_room(source, folder, listed)
    folder.mkdir(parents=True, exist_ok=True)
    if before is None or before.revision != commit:
        # what was whole may be in use, and stays so while it is looked through again
        (folder / weights.PULLING).touch()
    _download(source, folder, commit, listed, on_progress)
    names = {one.rfilename for one in listed}
    for name in (before.files if before else {}).keys() - names:
        (folder / name).unlink(missing_ok=True)
    for remote, local in source.named.items():
        # a link, so that fetching again finds what it has under the hub's own name
        (folder / local).unlink(missing_ok=True)
        (folder / local).hardlink_to(folder / remote)
    wrong = [
        one.rfilename for one in listed if not one.lfs and one.blob_id not in (None, _blob(folder / one.rfilename))
    ]
    expected = {one.rfilename: one.lfs.sha256 if one.lfs else sha256_of(folder / one.rfilename) for one in listed}
    weights.write_lock(folder, Lock(source.repo, commit, expected))
    (folder / weights.PULLING).unlink(missing_ok=True)
    problems = [f"{name}: not what the hub has" for name in wrong] + weights.verify(folder)
    if problems:
        (folder / weights.PULLING).touch()
        raise WeightsError(f"{source.what} was fetched but is not whole: {'; '.join(problems)}")
    return folder


def _listed(source: _Source, revision: str) -> tuple[str, list[Any]]:
    """(commit, the hub's facts of the files that are wanted)."""
    from huggingface_hub import HfApi

    with _told(source, revision):
        info = HfApi().model_info(source.repo, revision=revision, files_metadata=True)
    listed = [one for one in info.siblings or () if source.wants(one.rfilename)]
    missing = source.named.keys() - {one.rfilename for one in listed}
    if missing or not listed:
        raise WeightsError(f"{source.repo} has no {', '.join(sorted(missing)) or 'weights'} at {revision!r}")
    return str(info.sha), listed


def _download(source: _Source, folder: Path, commit: str, listed: list[Any], on_progress: Tell) -> None:
    """Fetch the missing files, a few at once. The hub client starts a file again in every process, and shards are
    gigabytes: a partial file is kept under its hash until it is complete."""
    hashes, parts = weights.hashes(folder), folder / _PARTS
    missing = [one for one in listed if not _same(one, folder, hashes)]
    parts.mkdir(exist_ok=True)
    total = sum(one.size or 0 for one in listed)
    so_far = _SoFar(on_progress, source.what, total, total - sum(one.size or 0 for one in missing))
    with _told(source, commit, folder), ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for done in [pool.submit(_download_one, source.repo, commit, one, folder, so_far) for one in missing]:
                done.result()
        except BaseException:
            # also when somebody presses Ctrl-C: threads are heard of no other way
            so_far.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    shutil.rmtree(parts, ignore_errors=True)


def _download_one(repo: str, commit: str, one: Any, folder: Path, so_far: "_SoFar") -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    # by its content and its name: another commit's file is another part, and two files may be alike
    part = (
        folder
        / _PARTS
        / f"{one.lfs.sha256 if one.lfs else one.blob_id}.{hashlib.sha256(one.rfilename.encode()).hexdigest()[:8]}"
    )
    with part.open("ab") as file:
        here = file.tell()
        so_far.add(here)
        url = hf_hub_url(repo, one.rfilename, revision=commit)
        http_get(
            url,
            file,
            resume_size=here,
            headers=build_hf_headers(),
            expected_size=one.size,
            displayed_filename=one.rfilename,
            tqdm_class=so_far.bar(),
        )
    target = folder / one.rfilename
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)


def _same(one: Any, folder: Path, hashes: Mapping[str, str]) -> bool:
    path = folder / one.rfilename
    if not path.is_file() or (one.size is not None and path.stat().st_size != one.size):
        return False
    if one.lfs:
        return bool((hashes.get(one.rfilename) or sha256_of(path)) == one.lfs.sha256)
    return one.blob_id in (None, _blob(path))


class _told:
    """The hub client's errors as sentences that say what to do."""

    def __init__(self, source: _Source, revision: str, folder: Path | None = None) -> None:
        self._source, self._revision, self._folder = source, revision, folder

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        repo = self._source.repo
        match error:
            case RevisionNotFoundError():
                raise WeightsError(f"{repo} has no revision {self._revision!r}") from error
            case GatedRepoError():
                raise WeightsError(f"{repo} is gated: accept its licence and set HF_TOKEN") from error
            case RepositoryNotFoundError():
                raise WeightsError(f"the hub has no repository {repo}, or it needs HF_TOKEN") from error
            case OSError() if error.filename is not None or error.errno == errno.ENOSPC:
                raise WeightsError(f"cannot write into {self._folder}: {error.strerror}") from error
            case Exception():  # the hub client's transport, and so its errors, change between releases
                where = f" into {self._folder}" if self._folder else ""
                raise WeightsError(
                    f"cannot fetch {repo} ({type(error).__name__}): is this machine online? Pull again to go on, "
                    f"or copy the weights{where} by hand, which is as good."
                ) from error


def _check_room(source: _Source, folder: Path, listed: list[Any]) -> None:
    """Before hours of fetching, not after them."""
    missing = sum(one.size or 0 for one in listed if not (folder / one.rfilename).is_file())
    missing -= sum(part.stat().st_size for part in folder.glob(f"{_PARTS}/*"))
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    if missing > free:
        raise WeightsError(f"{source.what} needs {missing / 1e9:.1f} GB more, and {there} has {free / 1e9:.1f} GB free")


def _blob(path: Path) -> str:
    """What git calls the content of a file: the hub tells nothing else of small ones."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class _SoFar:
    """Bytes that are here, told whenever there are more. `stopped`: the downloads are to end."""

    def __init__(self, tell: Tell, what: str, total: int, done: int) -> None:
        self._tell, self._what, self._total, self._done = tell, what, total, done
        self._lock = threading.Lock()
        self.stopped = False

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._tell(PullProgress(min(self._done, self._total), self._total, self._what))

    def bar(self) -> type:
        """A tqdm class for the hub client that prints nothing and reports the bytes."""
        from tqdm.auto import tqdm

        so_far = self

        class Bar(tqdm):  # type: ignore[misc]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                kwargs.pop("name", None)
                super().__init__(*args, **{**kwargs, "disable": True})

            def update(self, n: float | None = 1) -> bool | None:
                if so_far.stopped:
                    raise WeightsError("stopped")
                so_far.add(int(n or 0))
                return None

        return Bar
