"""What a farm keeps between two starts."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from farm.embedded.folder import ClientNotes, Remembered, StateFolder, StateFolderBusy
from farm.embedded.stale_processes import await_leftovers
from farm.jobs.errors import FarmError


def test_ports_and_keys_are_remembered(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    folder.make()
    first = folder.remembered()
    first.redis_port = 4711
    folder.remember(first)
    assert folder.remembered() == first
    # without notes, every farm has keys of its own
    assert Remembered().s3_secret_key != Remembered().s3_secret_key


def test_a_newer_versions_notes_are_read(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    (tmp_path / "farm.json").write_text('{"redis_port": 5, "something_new": 1}')
    assert folder.remembered().redis_port == 5


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_broken_notes_are_no_notes(tmp_path: Path, text: str) -> None:
    (tmp_path / "farm.json").write_text(text)
    (tmp_path / "client.toml").write_text("url = ")
    folder = StateFolder(tmp_path)
    assert folder.remembered().redis_port == 0
    assert folder.client() is None


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    folder.make()
    folder.remember(Remembered())
    folder.write_client(ClientNotes(url="http://127.0.0.1:1", key="wf_live_x", admin_key="wf_live_y", tenant="studio"))
    assert folder.client() == ClientNotes("http://127.0.0.1:1", "wf_live_x", "wf_live_y", "studio")
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    for name in ("farm.json", "client.toml"):
        assert stat.S_IMODE((folder.path / name).stat().st_mode) == 0o600
    assert sorted(p.name for p in folder.path.iterdir() if p.is_file()) == ["client.toml", "farm.json"]


def test_a_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()
    for mode in (0o755, 0o777, 0o710):
        path.chmod(mode)
        StateFolder(path).make()
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_closed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, say: its owner could read every key."""
    path = tmp_path / "state"
    path.mkdir(mode=0o755)

    def not_permitted(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", not_permitted)
    with pytest.raises(FarmError, match="chmod 700"):
        StateFolder(path).make()


def test_one_holder_at_a_time_and_the_second_is_told_who(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from farm.embedded.folder import StateFolder\n"
    code += "with StateFolder(Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    folder = StateFolder(tmp_path)
    with pytest.raises(StateFolderBusy, match=str(holder.pid)), folder.locked():
        pass
    # the kernel lets go of a killed holder's lock
    holder.kill()
    holder.wait()
    with folder.locked():
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_start_waits_until_the_last_ones_processes_are_gone(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.make()
    # dies by itself after a moment, as a part does whose `wanfarm up` was killed
    part = subprocess.Popen(["sleep", "0.3"], cwd=folder.logs)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        parts = {"redis": {"pid": part.pid}, "s3": {"pid": stranger.pid}, "io": {"pid": None}}
        folder.write_running({"pid": 1, "up": True, "parts": parts})
        await_leftovers(folder)
        # gone (our zombie, to be exact), while a pid that now belongs to somebody else is nobody's business
        assert Path(f"/proc/{part.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        assert stranger.poll() is None
        assert folder.running() is None
    finally:
        stranger.kill()
        stranger.wait()
        part.wait()
