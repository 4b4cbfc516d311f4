"""How the command speaks: names of files, what is shown on a screen, keys that it never tells, endings."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import preloaded
import pytest

from farm.cli.entry import main
from farm.cli.output import clean, widths_in
from farm.cli.watch import stems_of
from farm.wire.own_views import JobView
from tests.api.api_parts import TINY
from tests.farm.cli.cli_run import Ran

Wanfarm = Callable[..., Ran]
COMMAND = [sys.executable, "-m", "farm.cli"]


def named(wanfarm: Wanfarm, *names: str) -> list[JobView]:
    made = [wanfarm("submit", "-p", "x", "--model", TINY, "--name", name, "--json").document for name in names]
    return [JobView.model_validate(job) for job in made]


def test_take_two_does_not_replace_take_one(wanfarm: Wanfarm, worker: threading.Event, tmp_path: Path) -> None:
    shot = ("submit", "-p", "x", "--model", TINY, "--download", "out", "--name")
    told = [wanfarm(*shot, name).ok().out for name in ("lake", "lake", "лиса", "Lake", "湖 7/b")]
    assert told == ["out/lake.mp4\n", "out/lake-2.mp4\n", "out/лиса.mp4\n", "out/Lake.mp4\n", "out/湖-7-b.mp4\n"]
    ids = [job["id"] for job in wanfarm("jobs", "--json").document][::-1]
    assert wanfarm("download", ids[1]).ok().out == "out/lake-2.mp4\n", "the same job again keeps its name"
    assert wanfarm("download", *ids[:2]).ok().out == "out/lake.mp4\nout/lake-2.mp4\n"
    (tmp_path / "out" / "sea.mp4").write_bytes(b"somebody's own")
    assert wanfarm(*shot, "sea").ok().out == "out/sea-2.mp4\n"
    assert (tmp_path / "out" / "sea.mp4").read_bytes() == b"somebody's own"


def test_names_that_no_file_system_takes(wanfarm: Wanfarm, tmp_path: Path) -> None:
    jobs = named(wanfarm, "..", "///", "a" * 200, "ж" * 190)
    stems = list(stems_of(jobs, tmp_path).values())
    assert stems[:2] == [jobs[0].id, jobs[1].id]
    assert all(len(f"{stem}.mp4".encode()) < 200 for stem in stems)
    assert stems[3].startswith("жжж")


@pytest.mark.parametrize("behind", ["\r", "\r\n", "\n", " ", "\x00", "é", "\u200b", " x"])
def test_no_error_tells_the_key(wanfarm: Wanfarm, monkeypatch: pytest.MonkeyPatch, behind: str) -> None:
    key = os.environ["WANFARM_API_KEY"]
    if behind != "\x00":
        monkeypatch.setenv("WANFARM_API_KEY", key + behind)
    for told in (wanfarm("jobs", "--key", key + behind), wanfarm("jobs", "--json", "--key", key + behind)):
        assert told.code == (0 if not behind.strip() else 4), told
        assert key not in told.out + told.err


def test_a_key_in_somebody_elses_words_is_not_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError(f"Illegal header value b'Bearer {key}'")

    key = "wf_live_abcdefgh0123456789012345678901234567_abcdef"
    monkeypatch.setattr("farm.cli.entry.wanfarm.main", fail)
    with pytest.raises(SystemExit):
        main(["jobs"])
    told = capsys.readouterr().err
    assert ("<key>" in told, key[:20] in told) == (True, False)


EVIL = "a\x1b[2Jfox\x07\x9b31m\u202e\u2028b"


def test_control_codes_of_a_prompt_reach_no_terminal(wanfarm: Wanfarm) -> None:
    job_id = wanfarm("submit", "-p", EVIL, "--model", TINY, "--name", EVIL).ok().out.strip()
    for words in (
        ("jobs",),
        ("show", job_id),
        ("show", job_id, "--json"),
        ("watch", "--timeout", "0"),
        ("cancel", job_id),
    ):
        told = wanfarm(*words)
        assert not set(told.out + told.err) & set("\x1b\x07\x9b\u202e\u2028"), words
    assert wanfarm("show", job_id, "--json").document["prompt"] == EVIL, "the JSON means the same"
    assert clean("a\nb\tc\r\n") == "a\nb\tc\n"


def on_a_terminal(columns: int, *words: str) -> str:
    """What the command writes on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    with preloaded.Popen([*COMMAND, *words], stdout=theirs, stderr=theirs, stdin=theirs, env=env):
        os.close(theirs)
        read = b""
        try:
            while block := os.read(ours, 65536):
                read += block
        except OSError:
            pass  # the other end is closed
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;]*m", "", read.decode())


def test_a_table_fits_60_columns_and_keeps_id_and_state(wanfarm: Wanfarm) -> None:
    made = [job.id for job in named(wanfarm, "a name that is as long as the terminal is wide, and then some more", "b")]
    told = on_a_terminal(60, "jobs")
    rows = told.splitlines()
    assert all(len(row.rstrip()) <= 60 for row in rows), told
    assert rows[0].split()[0] == "job"
    assert rows[0].split()[-1] == "state"
    for job_id in made:
        row = next(row for row in rows if row.startswith(job_id))
        assert row.rstrip().endswith(("next in the queue", "before it"))
    assert "frames" in on_a_terminal(160, "jobs")


@pytest.mark.long
@pytest.mark.parametrize("width", [60, 80, 120])
def test_in_a_narrow_table_numbers_stay_whole_and_the_state_is_read(width: int) -> None:
    columns = ["job", "what", "model", ">frames", "state", "why"]
    row = [
        "j" * 36,
        "a fox runs through snow",
        "wan2.2-ti2v-5b-tiny",
        "100000",
        "failed: the picture shows nothing",
        "w",
    ]
    widths = widths_in(columns, [row], width)
    assert sum(widths.values()) + 2 * (len(widths) - 1) <= max(width, 36 + 2 + 26)
    assert (widths[0], widths.get(3, 6)) == (36, 6)
    assert widths[4] >= 26
    assert (1 in widths) == (width >= 80)


def test_a_reader_that_has_seen_enough_is_no_error(wanfarm: Wanfarm) -> None:
    named(wanfarm, *(f"shot {number}" for number in range(30)))
    for words in (["jobs", "-n", "30"], ["jobs", "--json", "-n", "30"], ["config", "example"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([*COMMAND, *words], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, ""), words


def test_jobs_says_that_there_are_more(wanfarm: Wanfarm) -> None:
    named(wanfarm, "a", "b", "c")
    told = wanfarm("jobs", "-n", "2").ok()
    assert (len(told.out.splitlines()), "there are more: wanfarm jobs -n 8" in told.err) == (3, True)
    assert wanfarm("jobs", "-n", "3").ok().err == ""
    assert len(wanfarm("jobs", "-n", "2", "--json").document) == 2


def test_ctrl_c_is_said_once(wanfarm: Wanfarm) -> None:
    named(wanfarm, "a")
    with subprocess.Popen([*COMMAND, "watch"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stderr is not None
        first = watch.stderr.readline()
        assert "a" in first
        time.sleep(0.2)
        watch.send_signal(signal.SIGINT)
        _, rest = watch.communicate(timeout=90)
    assert (watch.returncode, rest.splitlines()) == (
        130,
        ["no longer watching; the jobs go on (wanfarm watch, wanfarm cancel)"],
    )


def test_a_finished_job_has_done_all_of_its_steps(wanfarm: Wanfarm, worker: threading.Event) -> None:
    done = wanfarm("submit", "-p", "x", "--model", TINY, "--steps", "2", "--watch", "--json").document[0]
    assert (done["state"], done["step"], done["steps"]) == ("succeeded", 2, 2)


def test_an_address_without_a_scheme_is_understood(wanfarm: Wanfarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANFARM_URL", os.environ["WANFARM_URL"].removeprefix("http://"))
    assert wanfarm("jobs", "--json").document == []


def test_settings_are_refused_in_our_own_words(wanfarm: Wanfarm, tmp_path: Path) -> None:
    for text, words in (
        ("[gateway]\nthreads = 'many'\n", "gateway.threads: must be a whole number"),
        ("[gateway]\nthread = 1\n", "gateway.thread: unknown"),
        ("[lease]\nseconds = 'long'\n", "lease.seconds: must be a number"),
        ("gateway = 5\n", "gateway: must be an object"),
    ):
        (tmp_path / "farm.toml").write_text(text)
        told = wanfarm("config", "check", "--config", tmp_path / "farm.toml")
        assert (told.code, words in told.err) == (2, True), told.err
        assert "Input should" not in told.err
        assert "Extra inputs" not in told.err
