"""The laws of the design, checked on a farm that has come to rest: over the ledger, the objects and the processes
themselves, not over what the farm says about them."""

import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import e2e_processes as processes
import httpx
from harness import Farm

from farm.jobs.job import Job
from farm.jobs.states import TERMINAL, State
from farm.ledger.keys import TEMPLATES, Keys
from farm.storage.object_keys import result_prefix


@dataclass
class Ends:
    """How the acknowledged jobs ended."""

    states: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


def audit_end(farm: Farm) -> Ends:
    """Every law that can be seen from outside, over every acknowledged job. Fails with all that is wrong at once."""
    ledger, ends, wrong = farm.ledger(), Ends(), []
    terminal = _terminal_events(farm)
    assert len(set(farm.acknowledged)) == len(farm.acknowledged), "two acknowledgements named one job"
    for job_id in farm.acknowledged:
        job = ledger.find(job_id)
        if job is None:
            wrong.append(f"{job_id}: acknowledged, and gone")
            continue
        ends.states[job.state] += 1
        ends.attempts[job.attempt] += 1
        if job.error_code is not None:
            ends.errors[job.error_code] += 1
        wrong += [f"{job_id} ({job.state}, attempt {job.attempt}): {fault}" for fault in _job_faults(farm, job)]
        if terminal[job_id] != 1:
            wrong.append(f"{job_id} ({job.state}): {terminal[job_id]} terminal events")
    wrong += _ledger_faults(farm) + process_faults(farm) + _scratch_faults(farm)
    assert not wrong, "\n".join([f"{len(wrong)} laws broken", *wrong[:40]])
    return ends


def _job_faults(farm: Farm, job: Job) -> list[str]:
    faults = []
    if job.state not in TERMINAL:
        faults.append(f"stuck in {job.state}")
    if job.lease_until_ms is not None and job.state in TERMINAL:
        faults.append("over, but leased")
    if job.state is State.SUCCEEDED:
        faults += result_faults(farm, job)
    elif job.artifacts is not None:
        faults.append("has a result although it did not succeed")
    return faults


def result_faults(farm: Farm, job: Job) -> list[str]:
    """What is wrong with a committed result as its owner gets it."""
    if job.artifacts is None:
        return ["succeeded without a result"]
    prefix = f"{result_prefix(job.tenant, job.id)}{job.attempt}-"
    faults = [f"{key} is not under {prefix}" for key in _keys(job) if not key.startswith(prefix)]
    result = farm.job(job.id).result
    if result is None:
        return [*faults, "the gateway shows no result"]
    video = httpx.get(result.video_url)
    if video.status_code != 200:
        return [*faults, f"the video's URL answers {video.status_code}"]
    if hashlib.sha256(video.content).hexdigest() != job.artifacts.sha256:
        faults.append("the video is not the one that was committed")
    path = farm.folder / "downloaded.mp4"
    path.write_bytes(video.content)
    seen = decoded(path)
    wanted = (job.spec.frames, job.spec.width, job.spec.height)
    if (seen.frames, seen.width, seen.height) != wanted:
        faults.append(f"{seen} instead of {wanted}")
    if httpx.get(result.poster_url).content[:3] != b"\xff\xd8\xff":
        faults.append("the poster is no JPEG")
    recipe = json.loads(httpx.get(result.recipe_url).content)
    if recipe["seed"] != job.spec.seed or recipe["prompt"] != job.spec.prompt:
        faults.append("the recipe is another job's")
    return faults


@dataclass(frozen=True)
class Decoded:
    frames: int
    width: int
    height: int
    codec: str
    pixels: str
    rate: float


def decoded(path: Path) -> Decoded:
    """What a player finds in the file, every frame decoded."""
    with av.open(str(path)) as box:
        stream = box.streams.video[0]
        frames = sum(1 for _ in box.decode(stream))
        context = stream.codec_context
        return Decoded(
            frames, context.width, context.height, context.name, str(context.pix_fmt), float(stream.average_rate or 0)
        )


def _keys(job: Job) -> tuple[str, str, str]:
    assert job.artifacts is not None
    return job.artifacts.video, job.artifacts.poster, job.artifacts.recipe


def _terminal_events(farm: Farm) -> Counter[str]:
    """job -> how often its end was told, over every tenant's stream."""
    ledger, told = farm.ledger(), Counter[str]()
    redis, keys = farm.redis(), Keys(farm.settings.redis.prefix)
    for tenant in redis.smembers(keys("owners")):
        after = "0"
        while events := ledger.events(tenant, after=after, count=500):
            after = events[-1].id
            told.update(event.job for event in events if event.data.get("state") in TERMINAL)
    return told


def _ledger_faults(farm: Farm) -> list[str]:
    """Leases, queues and retries that nothing holds any more, and counters that the records do not bear out."""
    ledger, redis = farm.ledger(), farm.redis()
    faults = []
    for name in ("leases", "delayed", "queue"):
        for key in redis.scan_iter(_pattern(farm, name)):
            if held := redis.zcard(key):
                faults.append(f"{key} still has {held}: {redis.zrange(key, 0, 3)}")
    drift, cursor = Counter[str](), None
    while True:
        report = ledger.audit(cursor)
        drift.update(report.drift)
        cursor = report.cursor
        if cursor is None:
            break
    faults += [f"drift of {name}: {count}" for name, count in drift.items() if count]
    # what the farm's own audit had found and mended meanwhile was wrong too
    told = (farm.state_dir / "logs" / "io.log").read_text(errors="replace").splitlines()
    return faults + [line for line in told if "the audit mended" in line]


def _pattern(farm: Farm, name: str) -> str:
    fixed = TEMPLATES[name].partition("{")[0]
    return f"{farm.settings.redis.prefix}:{fixed}*"


def process_faults(farm: Farm) -> list[str]:
    """Engines without their agent, and processes that `wanfarm up` does not know."""
    assert farm.up is not None
    known = {farm.up.pid, *(p.pid for p in processes.descendants(farm.up.pid))}
    strays = [p for p in farm.processes() if p.pid not in known and processes.alive(p.pid)]
    return [f"stray process {p.pid} (parent {p.parent}): {p.command[:120]}" for p in strays]


def _scratch_faults(farm: Farm) -> list[str]:
    """Working files of attempts that are over. What was just ended may be a moment behind."""
    scratch, end = farm.state_dir / "scratch", time.monotonic() + 10
    while left := _files(scratch):
        if time.monotonic() > end:
            return [f"left in scratch: {path}" for path in left[:5]]
        time.sleep(0.1)
    return []


def _files(folder: Path) -> list[Any]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []
