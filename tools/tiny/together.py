"""All models in one budget of time: by a timetable on a GPU, several at once; in turn on a CPU. One that fails stops no
other."""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tools.tiny import experts, lessons, sizes

#: on a GPU, in shares of the budget: when each begins and ends; of a VAE, also when its latents are final. Each is
#: started so early that it is compiled and recorded when its time comes, and begins with what others have left by then
_TIMETABLE = {
    "vae21": (0.0, 0.24),
    "vae22": (0.0, 0.26),
    "t2v-high": (0.22, 0.52),
    "t2v-low": (0.22, 0.62),
    "ti2v": (0.28, 0.90),
    "i2v-high": (0.36, 0.50),
    "i2v-low": (0.36, 0.54),
    "t2v-4step": (0.62, 0.92),
    "t2v-ink": (0.82, 0.93),
    "vace-high": (0.62, 0.88),
    "vace-low": (0.62, 0.94),
    "animate": (0.78, 0.97),
}
_SETTLED = 0.22
#: seconds that it takes to get ready
_READY_S = 60.0
#: share of a CPU's time for each
_SHARES = {
    "vae21": 6,
    "vae22": 6,
    "t2v-stem": 8,
    "t2v-high": 2,
    "t2v-low": 2,
    "i2v-stem": 3,
    "i2v-high": 1,
    "i2v-low": 1,
    "ti2v": 8,
}


@dataclass
class Child:
    """One model's process, begun again in a plainer mode when it fails."""

    name: str
    command: list[str]
    log: Path
    modes: list[str]
    begin: float
    end: float
    process: "subprocess.Popen[bytes] | None" = None
    tried: list[str] = field(default_factory=list)

    def start(self) -> None:
        mode = self.modes.pop(0)
        self.tried.append(mode)
        with self.log.open("ab") as log:
            command = [*self.command, "--mode", mode]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=_environment())

    @property
    def status(self) -> int | None:
        return self.process.poll() if self.process is not None else None

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def run(given: argparse.Namespace) -> int:
    """Train what `given` names within its budget, show it, and print a table."""
    begun = time.time()
    end = begun + given.budget_s
    device = given.device or _device()
    out: Path = given.out
    if not (out / "words" / "table.safetensors").is_file():
        subprocess.run([sys.executable, "-m", "tools.tiny", "words", "--out", str(out)], check=True)
    (out / "log").mkdir(exist_ok=True)
    together = device == "cuda" or given.side_by_side
    wanted = given.only.split(",") if given.only else [*(_TIMETABLE if together else _SHARES)]
    children = _by_timetable(given, wanted, begun, device) if together else _in_turn(given, wanted, end)
    if given.pack is not None:
        _pack(out, given.pack, sheets=False)
    _table(out, children, begun)
    if not given.no_sheets:
        _sheets(given, device, max(20.0, end - time.time() + 5))
        if given.pack is not None:
            _pack(out, given.pack, sheets=True)
        _table(out, children, begun)
    return 0 if all(child.status == 0 for child in children) else 1


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _command(given: argparse.Namespace, name: str, end: float, device: str, *more: str) -> list[str]:
    base = [sys.executable, "-m", "tools.tiny", name, "--out", str(given.out), "--end", str(end), "--device", device]
    rate = ["--rate", str(given.rate)] if given.rate else []
    return [*base, "--threads", str(given.threads), *rate, *(["--small"] * given.small), *more]


def _environment() -> dict[str, str]:
    return {"TORCHINDUCTOR_COMPILE_THREADS": "3", "PYTHONUNBUFFERED": "1", **os.environ}


def _by_timetable(given: argparse.Namespace, wanted: list[str], begun: float, device: str) -> list[Child]:
    table = timetable(given.timetable)
    modes = [given.mode] if given.mode else list(lessons.MODES)
    children = []
    for name in {*_TIMETABLE, *experts.EXPERTS} - {*wanted}:
        (given.out / f"{name}.done").touch()  # nobody waits for who is not trained
    for name in wanted:
        for stale in ("ready", "done"):
            (given.out / f"{name}.{stale}").unlink(missing_ok=True)
        begin, end = (begun + share * given.budget_s for share in table[name])
        more = ["--begin", str(begin)]
        if name in sizes.VAES:
            # of one whose latents are final already, the decoder is trained at once
            known = (given.out / f"{name}.settled").is_file()
            settle = begun if known else begun + table.get("settled", (_SETTLED,))[0] * given.budget_s
            more = ["--settle-at", str(settle)]
        command = _command(given, name, end, device, *more)
        own = [mode for mode in modes if mode != "compiled" or name not in sizes.VAES] or ["plain"]
        children.append(Child(name, command, given.out / "log" / f"{name}.log", own, begin, end))
    try:
        _watch(given, children, begun)
    finally:
        for child in children:
            child.stop()
    return children


def timetable(text: str) -> dict[str, tuple[float, ...]]:
    """The shares of the budget in which each is trained, some changed by a text like "ti2v 0.2 0.6; settled 0.15".

    Raises ValueError for a text that says something else.
    """
    table: dict[str, tuple[float, ...]] = dict(_TIMETABLE)
    for line in filter(str.strip, text.split(";")):
        name, *shares = line.split()
        table[name] = tuple(float(share) for share in shares)
    return table


def _watch(given: argparse.Namespace, children: list[Child], begun: float) -> None:
    """Start them, begin again in a plainer mode who fails, until the time of each is over."""
    said = time.time()
    while any(child.status is None for child in children):
        for child in children:
            if child.process is None:
                if time.time() > child.begin - _READY_S:
                    child.start()
            elif child.status is None and time.time() > child.end + 15:
                child.stop()
            elif child.status not in (None, 0) and child.modes and time.time() < child.end - 5:
                print(f"{child.name}: {child.tried[-1]} ended with {child.status}; goes on plainer", flush=True)
                print(_last(child.log, 6), flush=True)
                child.start()
        if time.time() - said > 20:
            said = time.time()
            print(f"{time.time() - begun:5.0f} s  {_progress(given.out)}", flush=True)
            if given.pack is not None:
                _pack(given.out, given.pack, sheets=False)
        time.sleep(0.5)


def _in_turn(given: argparse.Namespace, wanted: list[str], end: float) -> list[Child]:
    """A VAE whose latents are settled and that nobody asked for by name is not trained again."""
    if not given.only:
        wanted = [name for name in wanted if name not in sizes.VAES or not (given.out / f"{name}.settled").is_file()]
    children = []
    for number, name in enumerate(wanted):
        left = end - time.time()
        share = _SHARES[name] / sum(_SHARES[other] for other in wanted[number:])
        until = time.time() + left * share * 0.97
        child = Child(
            name, _command(given, name, until, "cpu"), given.out / "log" / f"{name}.log", ["plain"], 0.0, until
        )
        child.start()
        children.append(child)
        while child.status is None:
            time.sleep(0.5)
        print(f"{name}: ended with {child.status}  {_progress(given.out, name)}", flush=True)
    return children


def _sheets(given: argparse.Namespace, device: str, most_s: float) -> None:
    command = [sys.executable, "-m", "tools.tiny", "sheets", "--out", str(given.out), "--device", device]
    command += ["--threads", str(given.threads), *(["--small"] * given.small)]
    try:
        subprocess.run(command, check=False, timeout=most_s if device == "cuda" else None, env=_environment())
    except subprocess.TimeoutExpired:
        print("the sheets took too long", flush=True)


def _lines(out: Path) -> dict[str, dict[str, object]]:
    """The last line of progress of every name."""
    found: dict[str, dict[str, object]] = {}
    if (out / "progress.jsonl").is_file():
        for line in (out / "progress.jsonl").read_text().splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            found[said["name"]] = {**found.get(said["name"], {}), **said}
    return found


def _progress(out: Path, only: str = "") -> str:
    return "  ".join(
        f"{name} {said['step']}:{said.get('loss', '-')}" for name, said in _lines(out).items() if name.startswith(only)
    )


def _last(path: Path, count: int) -> str:
    return "\n".join("    " + line for line in path.read_text(errors="replace").splitlines()[-count:])


def _pack(out: Path, where: Path, *, sheets: bool) -> None:
    """Few files, each under 16 MiB: the weights in two archives, the logs in one, and sheets as they are."""
    where.mkdir(parents=True, exist_ok=True)
    apart = {"weights-a.tar": ["vae", "t2v"], "weights-b.tar": ["i2v", "ti2v"]}
    weights = [path for path in out.glob("*.safetensors") if "-stem" not in path.name]
    named = {where: [path for path in weights if path.name.startswith(tuple(those))] for where, those in apart.items()}
    others = set(weights) - {path for paths in named.values() for path in paths}
    groups: dict[str, list[Path]] = {
        "weights-a.tar": [*named["weights-a.tar"], *out.glob("*.settled")],
        "weights-b.tar": named["weights-b.tar"],
        "weights-c.tar": [*others],
        "logs.tar.gz": [*out.glob("log/*.log"), *out.glob("progress.jsonl")],
    }
    if sheets:
        groups["sheets.tar.gz"] = list(out.glob("sheets/*.png"))
    for name, files in groups.items():
        with tarfile.open(where / name, "w:gz" if name.endswith("gz") else "w") as archive:
            for path in sorted(set(files)):
                if path.is_file() and not {".state", ".clips"} & set(path.suffixes):
                    archive.add(path, path.relative_to(out).as_posix())


def _table(out: Path, children: list[Child], begun: float) -> None:
    said = _lines(out)
    print(f"{'model':12} {'mode':9} {'status':>6} {'steps':>7} {'loss':>9} {'MB':>6}", flush=True)
    for child in children:
        line = said.get(child.name, {})
        path = out / f"{child.name}.safetensors"
        size = f"{path.stat().st_size / 1e6:.2f}" if path.is_file() else "-"
        print(
            f"{child.name:12} {child.tried[-1]:9} {child.status!s:>6} {line.get('step', '-')!s:>7}"
            f" {line.get('loss', '-')!s:>9} {size:>6}",
            flush=True,
        )
    print(f"{time.time() - begun:.0f} s", flush=True)
