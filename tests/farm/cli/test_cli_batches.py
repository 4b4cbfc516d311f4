"""`wanfarm submit shots.csv` and `wanfarm batches`, against a gateway."""

import io
import json
import re
import threading
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from farm.cli import batch_watch
from farm.cli.exit_codes import REFUSED
from farm.client.batches import Batches
from farm.jobs.errors import Unavailable
from farm.jobs.states import HoldReason, State
from farm.ledger import SwitchKind
from farm.wire.own_batches import BatchView, Credits
from tests.conftest import wait_until
from tests.farm.cli.cli_farm import Wanfarm
from tests.farm.client.conftest import Gateway

SMALL = ("--model", "wan2.2-ti2v-5b-tiny", "--width", 128, "--height", 128, "--frames", 9, "--steps", 2)


def test_a_manifest_is_watched_to_its_end_with_what_failed(wanfarm: Wanfarm, worker: threading.Event) -> None:
    Path("shots.csv").write_text("prompt,seed\na fox,7\nfail,8\na hare,\n")
    ran = wanfarm("submit", "shots.csv", *SMALL, "--watch")
    assert ran.code == 1
    assert "2 succeeded, 1 failed" in ran.out
    assert "line 3: invalid_input: the picture shows nothing" in ran.out
    [batch] = wanfarm("batches", "list", "--json").document
    assert (batch["jobs"], batch["state"]) == (3, "ended")
    assert wanfarm("batches", "download", batch["id"], "all.zip").ok().out.strip() == "all.zip"
    with zipfile.ZipFile("all.zip") as archive:
        assert archive.namelist() == ["000002.mp4", "000004.mp4", "results.ndjson"]
    assert "1 job changed" in wanfarm("batches", "retry", batch["id"]).ok().out
    assert wanfarm("batches", "show", batch["id"], "--json").document["acts"][0]["kind"] == "retry"
    assert len(wanfarm("batches", "jobs", batch["id"], "--json").document) == 3
    listed = wanfarm("batches", "results", batch["id"]).ok().out.splitlines()
    assert sum("video_url" in json.loads(line) for line in listed) == 2
    documents = wanfarm("batches", "results", batch["id"], "--json").document
    assert [one["job"] for one in documents] == [json.loads(line)["job"] for line in listed]
    assert wanfarm("batches", "download", batch["id"], "again.zip", "--json").document == {"file": "again.zip"}


def test_a_summary_tells_what_expired_and_not_what_somebody_cancelled(wanfarm: Wanfarm, gateway: Gateway) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    shots = [{"prompt": "a fox", "id": "fox", "takes": 2, "start_by": soon}, {"prompt": "a hare"}]
    Path("shots.jsonl").write_text("\n".join(map(json.dumps, shots)))
    batch = wanfarm("submit", "shots.jsonl", *SMALL).ok().out.strip()
    hare = wanfarm("batches", "jobs", batch, "--json").document[-1]["id"]
    assert "cancelled" in wanfarm("cancel", hare).ok().out
    wait_until(lambda: gateway.parts.ledger.reap() and "ended" in wanfarm("batches", "show", batch).ok().out)
    ran = wanfarm("batches", "watch", batch)
    assert ran.code == 1
    told = [line for line in ran.out.splitlines() if line.startswith("  line")]
    assert told == [f"  line 1, take {n}: expired: it had not started by its start-by time" for n in (1, 2)]


def test_every_fault_is_told_with_its_line(wanfarm: Wanfarm) -> None:
    Path("shots.csv").write_text("prompt,steps\na fox,many\na hare,2\n,3\n")
    ran = wanfarm("submit", "shots.csv", *SMALL[:-2])
    assert ran.code == REFUSED
    assert "line 2: steps: 'many' is not a whole number" in ran.err
    assert "line 4: prompt" in ran.err
    assert "nothing was submitted" in ran.err
    assert wanfarm("batches", "list", "--json").document == []


def test_what_it_would_cost_and_acts_by_hand(wanfarm: Wanfarm, gateway: Gateway) -> None:
    Path("shots.jsonl").write_text('{"prompt": "a fox", "id": "fox", "takes": 2}\n{"prompt": "a hare"}\n')
    quote = wanfarm("submit", "shots.jsonl", *SMALL, "--takes", 2, "--dry-run", "--json").document
    assert (quote["shots"], quote["jobs"]) == (2, 4)
    batch = wanfarm("submit", "shots.jsonl", *SMALL, "--hold-after", 1).ok().out.strip()
    assert "(1 to be approved)" in wanfarm("batches", "show", batch).ok().out
    pool = (SwitchKind.POOL, "default")
    gateway.parts.ledger.pause(*pool, who="an operator", why="a test")
    gateway.parts.pauses.changed()
    assert "(1 to be approved, paused by an operator)" in wanfarm("batches", "show", batch).ok().out
    gateway.parts.ledger.resume(*pool, who="an operator", why="a test")
    gateway.parts.pauses.changed()
    assert "1 job changed" in wanfarm("batches", "approve", batch).ok().out
    assert "nothing changed" in wanfarm("batches", "approve", batch).ok().out
    listed = wanfarm("batches", "jobs", batch).ok().out.splitlines()
    # takes of a shot are told apart
    assert [re.split("  +", line)[1] for line in listed] == ["shot", "fox, take 1", "fox, take 2", "line 2"]
    told = dict(
        re.split("  +", line, maxsplit=1) for line in wanfarm("show", listed[1].split()[0]).ok().out.splitlines()
    )
    assert (told["batch"], told["shot"]) == (batch, "fox, take 1")
    assert "3 jobs changed" in wanfarm("batches", "pause", batch).ok().out
    assert "3 jobs changed" in wanfarm("batches", "priority", batch, "--priority", 8).ok().out
    assert "3 jobs changed" in wanfarm("batches", "cancel", batch).ok().out
    assert wanfarm("batches", "watch", batch).code == 1


def test_pictures_beside_the_manifest_are_sent_with_it(wanfarm: Wanfarm, gateway: Gateway) -> None:
    Image.new("RGB", (64, 64)).save("fox.png")
    Path("shots.csv").write_text('prompt,image\n"a fox\nlooks up",fox.png\na hare,fox.png\n')
    batch = wanfarm("submit", "shots.csv", *SMALL).ok().out.strip()
    jobs = [gateway.parts.ledger.find(job["id"]) for job in wanfarm("batches", "jobs", batch, "--json").document]
    uploads = {job.spec.inputs["image"].upload for job in jobs if job}
    assert len(uploads) == 1
    assert [job.shot["line"] for job in jobs if job] == [2, 4]
    Path("lost.csv").write_text("prompt,image\na fox,gone.png\n")
    ran = wanfarm("submit", "lost.csv", *SMALL)
    assert ran.code != 0
    assert "lost.csv:2: image: there is no file 'gone.png'" in ran.err


def test_a_file_of_another_name_and_a_bad_option_are_told_once(wanfarm: Wanfarm) -> None:
    Path("shots.txt").write_text("prompt\na fox\n")
    assert "shots.txt: name it .csv" in wanfarm("submit", "shots.txt", *SMALL).err
    Path("shots.csv").write_text("prompt,steps\na fox,\na hare,\nan owl,0\n")
    ran = wanfarm("submit", "shots.csv", *SMALL[:-2], "--steps", 99999)
    assert ran.err.count("steps: must be at most 10000") == 1
    assert wanfarm("submit", "shots.csv", "--model", "wan9").err.count("unknown model 'wan9'") == 1
    assert "line 4: steps: must be at least 1" in ran.err


def test_a_bad_line_beside_a_picture_submits_nothing(wanfarm: Wanfarm) -> None:
    Image.new("RGB", (64, 64)).save("fox.png")
    Path("shots.csv").write_text(
        "prompt,seed,image\na fox,many,fox.png\na hare, looks up,3,fox.png\nan owl,4,fox.png\n"
    )
    Path("shots.jsonl").write_text('{"prompt": "a fox", "image": "fox.png"}\n{"prompt": "a hare"\n')
    for manifest, told in (
        ("shots.csv", ["shots.csv:2: seed: 'many' is not a whole number", "shots.csv:3: has 4 cells"]),
        ("shots.jsonl", ["shots.jsonl:2: is not JSON"]),
    ):
        ran = wanfarm("submit", manifest, *SMALL)
        assert ran.code != 0
        assert [words for words in told if words not in ran.err] == []
        assert "nothing was submitted" in ran.err
    assert wanfarm("batches", "list", "--json").document == []


def test_a_bar_in_eighty_columns_says_all_of_it() -> None:
    batch = BatchView(
        id="batch_" + 32 * "0",
        state="open",
        jobs=100_000,
        counts={State.SUCCEEDED: 40_000, State.FAILED: 12, State.RUNNING: 64, State.QUEUED: 59_924},
        held_for={HoldReason.DEPENDENCY: 9},
        progress=0.4,
        credits=Credits(total=0),
        gpu_s=1,
        gpu_s_left=1,
        created_at=datetime.now(UTC),
    )
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    bar = Progress(*batch_watch.columns(80), console=console)
    bar.add_task(batch_watch.title(batch), total=1.0, completed=0.4, words=batch_watch.short_words(batch))
    console.print(bar.get_renderable())
    [line] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert " 40% " in line
    assert "━" in line
    assert line.rstrip().endswith("40,000/100,000 done, 12 failed, 64 running")


@pytest.mark.parametrize("options", [["--takes", 2], ["--dry-run"], ["--hold-after", 3]])
def test_options_of_a_manifest_need_one(wanfarm: Wanfarm, options: list[str]) -> None:
    assert "manifest" in wanfarm("submit", "-p", "a fox", *options).err


def test_a_watch_with_a_timeout_ends_also_while_the_farm_is_silent(
    wanfarm: Wanfarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("shots.csv").write_text("prompt\na fox\n")
    batch = wanfarm("submit", "shots.csv", *SMALL).ok().out.strip()

    def silent(*_: object) -> None:
        raise Unavailable("nobody answers")

    monkeypatch.setattr(Batches, "get", silent)
    ran = wanfarm("batches", "watch", batch, "--timeout", 0)
    assert ran.code == 1
    assert "trying again: nobody answers" in ran.err
    assert "not over after 0 s; it goes on" in ran.err
