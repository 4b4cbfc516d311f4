"""Folders of weights: what they hash to, whether they are whole and what they were pulled as. Never loads a pickle."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.weights.digest import sha256_of

#: sizes, times and hashes seen before, so that 69 GB are read once
SIDECAR = ".wanfarm-hashes.json"
#: the expected hashes of the files, written by a pull and checked by `verify`
LOCK = ".wanfarm-lock.json"
#: exists in a folder while it is pulled: do not load from it
PULLING = ".wanfarm-pulling"
#: files that can run code when they are loaded
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})


class WeightsError(Exception):
    """Weights that are missing, broken or cannot be fetched; the text says what to do."""


@dataclass(frozen=True)
class Lock:
    """What a folder was pulled as. revision: a commit; files: name -> sha256."""

    repo: str
    revision: str
    files: Mapping[str, str]


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
        store(sidecar, seen)
    return {name: entry["sha256"] for name, entry in seen.items()}


def digest(folder: Path) -> str:
    """One sha256 for a whole folder: equal if and only if every file in it is equal."""
    lines = "".join(f"{sha} {name}\n" for name, sha in sorted(hashes(folder).items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def verify(folder: Path) -> list[str]:
    """The problems of a folder, in sentences; empty when it can be loaded and matches what was pulled.

    Every file is read again; cached hashes are not used.
    """
    problems = [f"{p.relative_to(folder)}: a pickle can run code; delete it" for p in _pickles(folder)]
    if (folder / PULLING).is_file():
        problems.append("it was not fetched to its end; pull it again")
    if (folder / "model_index.json").is_file():
        problems += _missing_parts(folder)
    elif (folder / "model.safetensors").is_file() and not (folder / "config.json").is_file():
        problems.append("config.json: missing")
    elif not has_weights(folder):  # LoRAs and networks are folders without an index
        return [*problems, f"{folder.name}: no weights in it; is this a diffusers folder?"]
    for path in sorted(folder.rglob("*.safetensors")):
        problems += _broken_tensors(path, folder)
    (folder / SIDECAR).unlink(missing_ok=True)
    found = hashes(folder)
    lock = lock_of(folder)
    for name, expected in sorted(lock.files.items() if lock else ()):
        if name.endswith(".md"):  # notes decide nothing
            continue
        if name not in found:
            problems.append(f"{name}: missing")
        elif found[name] != expected:
            problems.append(f"{name}: its content has changed (sha256 {found[name][:12]}, was {expected[:12]})")
    return problems


def lock_of(folder: Path) -> Lock | None:
    """The repository and commit that the folder was pulled from; None when it was not pulled."""
    try:
        raw = json.loads((folder / LOCK).read_text())
        return Lock(raw["repo"], raw["revision"], raw["files"])
    except (OSError, ValueError, KeyError):
        return None


def write_lock(folder: Path, lock: Lock) -> None:
    """Keep what the folder was pulled as, for verify."""
    store(folder / LOCK, {**asdict(lock), "files": dict(lock.files)})


def revision_of(folder: Path) -> str | None:
    """The hub commit that the folder was pulled at, None when it came another way."""
    lock = lock_of(folder)
    return lock.revision if lock else None


def has_weights(folder: Path) -> bool:
    """Whether there is anything in a folder that could be loaded."""
    return any(path.suffix in (".safetensors", ".onnx") for path in _files(folder))


def ready(folder: Path) -> bool:
    """Whether weights lie there and no pull of them is under way or broke off."""
    return folder.is_dir() and not (folder / PULLING).is_file() and has_weights(folder)


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


def store(path: Path, content: Any) -> None:
    """Write JSON whole or not at all; a read-only folder of weights merely costs the hashing again."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(content, indent=1))
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
