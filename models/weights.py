"""Folders of weights: what they hash to, whether they are whole, and fetching them. Safetensors only, never pickles."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: sizes, times and hashes seen before, so that 69 GB are read once
SIDECAR = ".wanfarm-hashes.json"
#: what the files ought to be, written by `pull`; `verify` compares with it
LOCK = ".wanfarm-lock.json"
#: files that can run code when they are loaded
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "LICENSE*", "*.md")
_CHUNK = 16 * 1024 * 1024


class WeightsError(Exception):
    """Weights that are missing, broken or cannot be fetched; the text says what to do."""


@dataclass(frozen=True)
class PullProgress:
    """Bytes of the files being fetched; total_bytes is 0 until the hub has told the sizes."""

    done_bytes: int
    total_bytes: int


def hashes(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file that decides what is rendered. Cached by size and time of change."""
    sidecar = folder / SIDECAR
    try:
        known: dict[str, Any] = json.loads(sidecar.read_text())
    except (OSError, ValueError):
        known = {}
    seen: dict[str, Any] = {}
    for path in _files(folder):
        name, stat = path.relative_to(folder).as_posix(), path.stat()
        entry = known.get(name)
        if entry is None or entry["size"] != stat.st_size or entry["mtime_ns"] != stat.st_mtime_ns:
            entry = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256_of(path)}
        seen[name] = entry
    if seen != known:
        _store(sidecar, seen)
    return {name: entry["sha256"] for name, entry in seen.items()}


def digest(folder: Path) -> str:
    """One sha256 for a whole folder: equal if and only if every file in it is equal."""
    lines = "".join(f"{sha} {name}\n" for name, sha in sorted(hashes(folder).items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path) -> list[str]:
    """What is wrong with a folder, in sentences; empty when it can be loaded and is what was pulled.

    Every file is read again: the sidecar's word is not taken.
    """
    problems = [f"{p.relative_to(folder)}: a pickle can run code; delete it" for p in _pickles(folder)]
    if (folder / "model_index.json").is_file():
        problems += _missing_parts(folder)
    elif not _tensors(folder):  # LoRAs alone are a folder without an index
        return [f"{folder.name}: neither model_index.json nor a LoRA; is this a diffusers folder?"]
    for path in sorted(folder.rglob("*.safetensors")):
        problems += _broken_tensors(path, folder)
    (folder / SIDECAR).unlink(missing_ok=True)
    found = hashes(folder)
    for name, expected in sorted(_lock(folder).items()):
        if name not in found:
            problems.append(f"{name}: missing")
        elif found[name] != expected:
            problems.append(f"{name}: its content has changed (sha256 {found[name][:12]}, was {expected[:12]})")
    return problems


def pull(model_id: str, models_dir: Path, revision: str | None, on_progress: Callable[[PullProgress], None]) -> Path:
    """Fetch a catalog model's weights into models_dir/<model id>; goes on where it was interrupted.

    The revision is resolved to a commit first and that commit is what is fetched and written into the lock.
    Of a model with a base, the base is fetched too. Raises WeightsError when the hub cannot be reached or lacks it.
    """
    from models import catalog

    model = catalog.get(model_id)
    if model.weights.tiny or model.weights.repo is None:
        raise WeightsError(f"{model_id} has no weights to fetch" + (": they are built" if model.weights.tiny else ""))
    if model.base is not None:
        folder = pull(model.base, models_dir, revision if not model.loras else None, on_progress)
        if not model.loras:
            return folder
        source = model.loras[0]
        wanted = {lora.file or "": f"{lora.expert}.safetensors" for lora in model.loras}
        return _fetch(model_id, models_dir, source.repo or "", revision or source.revision, on_progress, named=wanted)
    return _fetch(model_id, models_dir, model.weights.repo, revision or model.weights.revision, on_progress)


def _fetch(
    model_id: str,
    models_dir: Path,
    repo: str,
    revision: str | None,
    on_progress: Callable[[PullProgress], None],
    *,
    named: Mapping[str, str] | None = None,
) -> Path:
    """One repository into the model's folder. `named`: fetch only these files and call them so."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    folder, asked = models_dir / model_id, revision or "main"
    try:
        info = HfApi().model_info(repo, revision=asked, files_metadata=True)
        listed = [s for s in info.siblings or () if (s.rfilename in named if named else _wanted(s.rfilename))]
        snapshot_download(
            repo,
            revision=info.sha,
            local_dir=folder,
            allow_patterns=list(named or _WANTED),
            tqdm_class=_reporter(on_progress, sum(s.size or 0 for s in listed)),
        )
    except RevisionNotFoundError as error:
        raise WeightsError(f"{repo} has no revision {asked!r}") from error
    except GatedRepoError as error:
        raise WeightsError(f"{repo} is gated: accept its licence and set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise WeightsError(f"the hub has no repository {repo}, or it needs HF_TOKEN") from error
    except Exception as error:  # the hub client's transport, and so its errors, change between releases
        raise WeightsError(
            f"cannot fetch {repo} ({type(error).__name__}): is this machine online? "
            f"Weights copied into {folder} by hand are as good."
        ) from error
    for remote, local in (named or {}).items():
        # a link, so that fetching again finds what it has under the hub's own name
        (folder / local).unlink(missing_ok=True)
        (folder / local).hardlink_to(folder / remote)
    expected = {s.rfilename: s.lfs.sha256 if s.lfs else sha256_of(folder / s.rfilename) for s in listed}
    _store(folder / LOCK, {"repo": repo, "revision": info.sha, "files": expected})
    problems = verify(folder)
    if problems:
        raise WeightsError(f"{model_id} was fetched but is not whole: {'; '.join(problems)}")
    return folder


def revision_of(folder: Path) -> str | None:
    """The hub commit that the folder was pulled at, None when it came another way."""
    try:
        return str(json.loads((folder / LOCK).read_text())["revision"])
    except (OSError, ValueError, KeyError):
        return None


def _files(folder: Path) -> Iterator[Path]:
    """Files that decide what is rendered, in order: no notes, no dot files, no download cache."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts) and path.suffix != ".md":
            yield path


def _pickles(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in PICKLES and p.is_file())


def _missing_parts(folder: Path) -> list[str]:
    """Every part that model_index.json names has its folder, and every shard that an index names its file."""
    problems = []
    index = json.loads((folder / "model_index.json").read_text())
    for part, kind in index.items():
        if part.startswith("_") or not isinstance(kind, list) or kind[0] is None:
            continue
        if not (folder / part).is_dir():
            problems.append(f"{part}/: missing")
        elif kind[0] in ("diffusers", "transformers") and _has_weights(kind[1]) and not _tensors(folder / part):
            problems.append(f"{part}/: no .safetensors file")
    for shards in sorted(folder.rglob("*.safetensors.index.json")):
        for name in sorted(set(json.loads(shards.read_text())["weight_map"].values())):
            if not (shards.parent / name).is_file():
                problems.append(f"{(shards.parent / name).relative_to(folder)}: missing")
    return problems


def _has_weights(class_name: str) -> bool:
    return not any(word in class_name for word in ("Tokenizer", "Scheduler", "Processor"))


def _tensors(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _broken_tensors(path: Path, folder: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            tensors.keys()
    except (SafetensorError, OSError) as error:
        return [f"{path.relative_to(folder)}: cannot be read ({error}); fetch it again"]
    return []


def _lock(folder: Path) -> dict[str, str]:
    try:
        files: dict[str, str] = json.loads((folder / LOCK).read_text())["files"]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: sha for name, sha in files.items() if not name.endswith(".md")}


def _wanted(name: str) -> bool:
    from fnmatch import fnmatch

    return any(fnmatch(name, pattern) for pattern in _WANTED)


def _store(path: Path, content: Any) -> None:
    """Write whole or not at all; a read-only folder of weights merely costs the hashing again."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(content, indent=1))
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)


def _reporter(on_progress: Callable[[PullProgress], None], total: int) -> type:
    """A tqdm class for the hub client that draws nothing and passes the bytes on."""
    from tqdm.auto import tqdm

    done = 0

    class Reporter(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            kwargs["disable"] = False
            kwargs["file"] = open(os.devnull, "w")  # noqa: SIM115  tqdm owns it until the pull ends
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal done
            if self.unit == "B" and n:
                done += int(n)
                on_progress(PullProgress(min(done, total), total))
            return super().update(n)

    return Reporter
