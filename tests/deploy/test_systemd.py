"""The units are right by systemd's own reading, and run commands that there are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.commands import known

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))


def test_the_units_run_commands_of_ours() -> None:
    started = [line for unit in UNITS for line in re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)]
    assert len(started) == len(UNITS) == 4
    for line in started:
        program, *arguments = line.split()
        assert program == "/opt/wanfarm/bin/wanfarm"
        for part in ("gateway", "io", "beat"):
            assert known([part if word == "%i" else word for word in arguments]), line


def test_systemd_reads_them_without_complaint(tmp_path: Path) -> None:
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        pytest.skip("no systemd-analyze on PATH (Debian: apt-get install systemd)")
    copies = []
    for unit in UNITS:
        copy = tmp_path / unit.name.replace("@", "@gateway")
        # the program and its user are not on this machine
        copy.write_text(unit.read_text().replace("/opt/wanfarm/bin/wanfarm", "/bin/true"))
        copies.append(copy)
    ran = subprocess.run([analyse, "verify", "--man=no", *copies], capture_output=True, text=True, check=False)
    complaints = [line for line in ran.stderr.splitlines() if str(tmp_path) in line or "wanfarm" in line]
    assert (ran.returncode, complaints) == (0, []), ran.stderr
    (tmp_path / "bad.service").write_text("[Service]\nExecStart=/bin/true\nKillModus=mixed\n")
    bad = subprocess.run([analyse, "verify", tmp_path / "bad.service"], capture_output=True, text=True, check=False)
    assert "KillModus" in bad.stderr
