"""The configuration of a studio is one that the farm reads, and its tenants are ones that it makes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from farm.config import CONFIG_ENV, RedisSettings, Settings
from farm.ledger.connection import connect
from farm.providers.registry import Providers
from farm.tenants.tenants import Tenants
from models import catalog

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv(CONFIG_ENV, str(EXAMPLES / "studio.toml"))
    return Settings()


def test_the_studio_has_three_pools_and_two_providers_that_it_can_buy_from(studio: Settings) -> None:
    assert set(studio.pools) == {"h100", "l40s", "night"}
    for pool in studio.pools.values():
        assert [catalog.get(model).id for model in pool.models] == list(pool.models)
    assert set(studio.providers) == {"kie", "north"}
    entries = Providers(studio).entries
    assert all(entry.models for entry in entries.values())


def test_the_five_tenants_are_made(studio: Settings, redis_settings: RedisSettings, tmp_path: Path) -> None:
    # the script calls `wanfarm` by its name
    shim = tmp_path / "wanfarm"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m farm.cli "$@"\n')
    shim.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "WANFARM_REDIS__LEDGER_URL": redis_settings.ledger_url,
        "WANFARM_STATE_DIR": str(tmp_path / "state"),
    }
    subprocess.run([EXAMPLES / "tenants.sh"], env=environment, check=True, capture_output=True)
    with connect(redis_settings) as redis:
        made = {one.id: one for one in Tenants(redis, studio).list()}
    assert set(made) == {"feature", "series", "commercials", "lab", "agency"}
    assert made["feature"].weight == 8 * made["lab"].weight
    assert studio.provenance.tenants.keys() <= made.keys()
