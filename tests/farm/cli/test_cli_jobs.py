"""The commands that ask a farm, against a gateway that listens."""

import json
import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from farm.cli import follow
from farm.cli.bars import Lines, words
from farm.cli.jobs import _interval, _length, _size
from farm.cli.submit import _INPUTS
from farm.embedded import samples
from farm.embedded.ports import free_port
from farm.jobs.errors import Unavailable
from farm.jobs.roles import Role
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerState, WorkerStatus
from farm.ledger import SwitchKind
from farm.wire.own import CreateJob
from farm.wire.own_views import JobView
from models.catalog import ROLES
from tests.api.api_parts import TINY
from tests.farm.cli.cli_run import Ran
from tests.farm.client.conftest import VIDEO, Gateway
from tests.models.model_parts import film

Wanfarm = Callable[..., Ran]


def test_submit_show_list_cancel(wanfarm: Wanfarm) -> None:
    job_id = wanfarm("submit", "-p", "a fox", "--model", TINY, "--seed", "5", "--name", "fox").ok().out.strip()
    shown = wanfarm("show", job_id, "--json").document
    assert (shown["prompt"], shown["seed"], shown["name"], shown["state"]) == ("a fox", 5, "fox", "queued")
    assert "a fox" in wanfarm("show", job_id).ok().out
    listed = wanfarm("jobs").ok().out.splitlines()
    assert listed[0].split() == ["job", "what", "model", "size", "frames", "age", "state"]
    assert listed[1].startswith(job_id)
    assert listed[1].endswith("next in the queue")
    assert [job["id"] for job in wanfarm("jobs", "--state", "queued", "--json").document] == [job_id]
    assert wanfarm("cancel", job_id).ok().out.split() == [job_id, "cancelled", "fox"][:2]
    assert wanfarm("jobs", "--state", "queued").ok().out == ""
    assert wanfarm("cancel", job_id, "--json").document[0]["state"] == "cancelled"


def test_explain_names_the_day_of_a_late_start_and_no_pool_of_what_is_over(wanfarm: Wanfarm) -> None:
    job_id = wanfarm("submit", "-p", "a fox", "--model", TINY).ok().out.strip()
    waits = wanfarm("explain", job_id).ok().out
    assert re.search("^what binds +[a-z]", waits, re.MULTILINE)
    assert re.search("^pool +default: 0 jobs", waits, re.MULTILINE)
    wanfarm("cancel", job_id).ok()
    over = [line.split()[0] for line in wanfarm("explain", job_id).ok().out.splitlines()]
    assert over == ["job", "state", "rule"]
    noon = datetime.now().astimezone().replace(hour=12, minute=0, second=0, microsecond=0)
    assert _interval(noon, noon, noon) == "about 12:00:00, with 80 % between 12:00:00 and 12:00:00"
    later = noon + timedelta(days=1)
    assert _interval(later, noon, later).startswith(f"about {later:%Y-%m-%d} 12:00, with 80 % between {noon:%Y-%m-%d}")


def test_a_clip_to_follow_is_an_option_like_the_picture(wanfarm: Wanfarm, gateway: Gateway, tmp_path: Path) -> None:
    gateway.hand.offer("wan2.2-animate-14b-tiny")
    (tmp_path / "her.jpg").write_bytes(samples.picture())
    film(tmp_path / "dance.mp4", 12, 25)
    shot = ("-p", "she dances", "--model", "wan2.2-animate-14b-tiny", "-i", "her.jpg", "--video", "dance.mp4")
    extra = ("--option", "several=largest", "--option", "mask_blocks=[2, 1]")
    job_id = wanfarm("submit", *shot, "--task", "replace", *extra).ok().out.strip()
    shown = wanfarm("show", job_id, "--json").document
    assert (shown["task"], sorted(shown["inputs"])) == ("replace", ["image", "video"])
    assert set(ROLES) == set(_INPUTS) <= set(CreateJob.model_fields)
    told = dict(re.split("  +", line, maxsplit=1) for line in wanfarm("show", job_id).ok().out.splitlines())
    assert told["input video"] == shown["inputs"]["video"]["sha256"]
    assert (shown["options"], told["options"]) == (
        {"several": "largest", "mask_blocks": [2, 1]},
        "several=largest, mask_blocks=[2, 1]",
    )
    refused = wanfarm("submit", *shot, "--option", "several=all")
    assert (refused.code, "options.several" in refused.err) == (4, True)
    assert "write NAME=VALUE" in wanfarm("submit", *shot, "--option", "several").err
    assert told["length"] == "12 frames at 25 fps (0.48 s)"
    # one whose inputs were not fetched yet
    unseen = JobView.model_validate({**shown, "width": None, "height": None, "frames": None, "fps": None})
    assert (_size(unseen), _length(unseen)) == (None, "as its clip, which is not here yet")


def test_submit_and_stay_until_the_files_are_there(wanfarm: Wanfarm, worker: threading.Event, tmp_path: Path) -> None:
    done = wanfarm("submit", "-p", "a fox", "--model", TINY, "--name", "shot 12/b", "--download", "out").ok()
    assert done.out == "out/shot-12-b.mp4\n"
    assert (tmp_path / "out/shot-12-b.mp4").read_bytes() == VIDEO
    assert "done" in done.err
    listed = wanfarm("submit", "-p", "a fox", "--model", TINY, "--download", "out", "--json").document
    assert listed[0]["state"] == "succeeded"
    assert (tmp_path / listed[0]["files"]["video"]).read_bytes() == VIDEO
    job_id = listed[0]["id"]
    assert wanfarm("download", job_id, "--to", "again").ok().out == f"again/{job_id}.mp4\n"
    assert wanfarm("watch").ok().err == "nothing is open\n"
    assert wanfarm("watch", job_id).ok().out.startswith(job_id)


def test_the_exit_code_tells_that_a_shot_failed(wanfarm: Wanfarm, worker: threading.Event) -> None:
    failed = wanfarm("submit", "-p", "fail", "--model", TINY, "--watch")
    assert failed.code == 1
    assert "failed: the picture shows nothing" in failed.out


def test_a_shot_that_comes_before_the_first_worker_waits_for_it(
    wanfarm: Wanfarm, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools, refused = gateway.parts.submissions.pools, list[str]()
    gateway.parts.ledger.worker_gone("hand", "default")
    asked = pools.offered_or_unavailable

    def refuse() -> tuple[str, ...]:
        try:
            return asked()
        except Unavailable as error:
            refused.append(str(error))
            if len(refused) == 2:
                # it has started meanwhile
                gateway.hand.offer(TINY)
            raise

    monkeypatch.setattr(pools, "offered_or_unavailable", refuse)
    monkeypatch.setattr("farm.cli.session.PATIENCE_S", 0.2)
    done = wanfarm("submit", "-p", "a fox", "--model", TINY).ok()
    assert len(refused) >= 2
    assert done.err.count("waiting for the first one") == 1
    assert wanfarm("show", done.out.strip(), "--json").document["state"] == "queued"


def test_watching_says_at_once_what_an_operator_paused_and_resumed(
    wanfarm: Wanfarm, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its event alone: no look comes by itself, and one would not reach all."""
    monkeypatch.setattr(follow, "LOOK_S", 3600.0)
    monkeypatch.setattr(follow, "LOOKS", 2)
    ledger, pool = gateway.parts.ledger, (SwitchKind.POOL, "default")
    with gateway.client() as client:
        following = follow.Follow(client, [client.jobs.create("a fox", model=TINY) for _ in range(3)])
        lines, done = Lines(following, quiet=False), list[str]()

        def show() -> None:
            lines.show()
            paused = [words(job) for job in following.jobs].count("paused by an operator")
            if not done:
                done.append("paused")
                ledger.pause(*pool, who="an operator", why="a test")
            elif done == ["paused"] and paused == 3:
                done.append("resumed")
                ledger.resume(*pool, who="an operator", why="a test")
            elif done == ["paused", "resumed"] and not paused:
                done.append("cancelled")
                for job in following.jobs:
                    client.jobs.cancel(job.id)

        assert {job.state for job in following.until_over(show, timeout_s=60)} == {State.CANCELLED}
    said = [re.split("  +", line)[-1] for line in capsys.readouterr().err.splitlines()]
    assert [said.count(text) for text in ("paused by an operator", "cancelled")] == [3, 3]
    assert sum(text.startswith(("next in the queue", "queued,")) for text in said) == 6
    assert wanfarm("show", following.jobs[0].id).ok()


def test_watching_can_give_up_while_the_job_goes_on(wanfarm: Wanfarm) -> None:
    wanfarm("submit", "-p", "a fox", "--model", TINY).ok()
    gave_up = wanfarm("watch", "--timeout", "0.2")
    assert gave_up.code == 1
    assert "the jobs go on" in gave_up.err
    assert wanfarm("jobs", "--json").document[0]["state"] == "queued"


def test_errors_are_a_line_and_a_code(wanfarm: Wanfarm, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = wanfarm("submit", "-p", "x", "--model", TINY, "--frames", "18")
    assert refused.code == 4
    assert refused.err.startswith("wanfarm: frames: ")
    told = json.loads(wanfarm("submit", "-p", "x", "--model", TINY, "--frames", "18", "--json").err)
    assert told["error"]["field"] == "frames"
    assert told["error"]["exit_code"] == 4
    assert wanfarm("show", "nonsense").code == 4
    assert wanfarm("submit").code == 2
    assert wanfarm("submit", "-p", "x", "--image", "no-such.png").code == 2
    refused = wanfarm("workers")
    assert (refused.code, "unset it, or give --key" in refused.err) == (4, True)
    assert wanfarm("no-such-command").code == 2
    monkeypatch.setenv("WANFARM_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("farm.cli.session.PATIENCE_S", 0.2)
    away = wanfarm("jobs")
    assert away.code == 3
    assert "wanfarm up" in away.err


def test_no_farm_here_and_no_key_for_a_foreign_one(
    wanfarm: Wanfarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANFARM_API_KEY")
    # a key in this folder belongs to this folder's farm: it is not sent elsewhere
    (tmp_path / ".wanfarm").mkdir()
    (tmp_path / ".wanfarm/client.toml").write_text('url = "http://127.0.0.1:1"\nkey = "wf_live_mine"\n')
    assert "no API key for" in wanfarm("jobs").err
    monkeypatch.delenv("WANFARM_URL")
    (tmp_path / ".wanfarm/client.toml").unlink()
    nowhere = wanfarm("jobs")
    assert nowhere.code == 3
    assert "no farm here" in nowhere.err


def test_models_workers_and_the_environment(wanfarm: Wanfarm, gateway: Gateway) -> None:
    ready = [line.split()[0] for line in wanfarm("models", "list").ok().out.splitlines() if " yes " in line]
    assert ready == [TINY]
    assert any(model["id"] == TINY for model in wanfarm("models", "list", "--json").document)
    with gateway.client("ops", role=Role.OPERATOR) as operator:
        key = operator.key
    assert wanfarm("workers", "--key", key).ok().out.splitlines()[1].startswith("hand")
    bad = WorkerStatus(state=WorkerState.QUARANTINED, reason="3 jobs failed", until="2030-01-01T00:00:00Z")
    gateway.parts.ledger.worker_seen("host/gpu-7", "default", bad, ttl_s=60, slots=0)
    shown = wanfarm("workers", "--key", key).ok().out.splitlines()
    assert shown[-1] == "host/gpu-7 is quarantined until 2030-01-01T00:00:00Z: 3 jobs failed"
    assert wanfarm("config", "env").ok().out.startswith("export WANFARM_URL=http://127.0.0.1:")
