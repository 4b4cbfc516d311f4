"""The commands that need no gateway."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from redis import Redis

from farm.cli.entry import COMMANDS, wanfarm
from farm.cli.example import example
from farm.config import Settings
from farm.embedded import settings_file
from farm.embedded.folder import StateFolder
from farm.jobs.worker_status import WorkerState, WorkerStatus
from farm.ledger import Ledger
from farm.tenants.tenants import Tenants
from tests.farm.cli.cli_run import run

ROOT = Path(__file__).parents[3]


def every_command() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []

    def walk(name: str, command: click.Command) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for below in command.list_commands(context):
                inner = command.get_command(context, below)
                assert inner is not None
                walk(f"{name} {below}".strip(), inner)
        else:
            found.append((name, command))

    walk("", wanfarm)
    return found


def test_every_command_helps_and_speaks_json() -> None:
    names = dict(every_command())
    assert {"up", "submit", "tenants create", "keys revoke", "models pull", "config check"} <= set(names)
    for name, command in names.items():
        assert command.help, name
        options = [option for parameter in command.params for option in parameter.opts]
        # a script and an example file are what they are
        assert "--json" in options or name in ("completion", "config example"), name


def test_help_is_whole() -> None:
    """The line of each command fits into 80 columns, and every option says what it is for."""

    def look(command: click.Command) -> None:
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert parameter.help, (command.name, parameter.name)
        if isinstance(command, click.Group):
            context = click.Context(command)
            names = command.list_commands(context)
            for name in names:
                inner = command.get_command(context, name)
                assert inner is not None
                line = inner.get_short_help_str(80 - 6 - max(map(len, names)))
                assert not line.endswith("..."), name
                look(inner)

    look(wanfarm)


def test_importing_the_command_loads_nothing_heavy() -> None:
    code = "import farm.cli, sys; print(*(n for n in ('torch','httpx','pydantic','redis','celery','flask','rich',"
    code += "'minio','numpy','av') if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_help_needs_no_torch() -> None:
    code = "import sys; from farm.cli import main\ntry: main(['--help'])\nexcept SystemExit as e: assert e.code == 0\n"
    code += "assert not {'torch', 'celery', 'flask', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in COMMANDS)


def test_the_example_configuration_is_in_step_with_the_settings() -> None:
    text = example()
    assert (ROOT / "deploy/wanfarm.example.toml").read_text() == text, (
        "run: wanfarm config example > deploy/wanfarm.example.toml"
    )
    assert Settings(**tomllib.loads(text)) == Settings()
    # what is commented out are the defaults
    bare = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line
        for line in text.replace("# [pools.default]", "[pools.default]").splitlines()
        if "(not set)" not in line
    )
    loaded = tomllib.loads(bare)
    del loaded["pools"]
    assert Settings(**loaded) == Settings()
    for name, field in Settings.model_fields.items():
        section = field.annotation
        for setting in getattr(section, "model_fields", {}):
            assert f"# {setting} = " in text, f"{name}.{setting}"


def test_configuration_is_shown_without_its_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANFARM_S3__SECRET_KEY", "hush")
    monkeypatch.setenv("WANFARM_REDIS__LEDGER_URL", "redis://user:hush@host/0")
    shown = run("config", "show", "--state-dir", tmp_path)
    assert tomllib.loads(shown.out)["redis"]["ledger_url"] == "redis://user:...@host/0"
    assert "hush" not in shown.out
    assert "hush" in run("config", "show", "--secrets", "--state-dir", tmp_path).out
    assert json.loads(run("config", "show", "--json", "--state-dir", tmp_path).out)["lease"]["seconds"] == 45.0


def test_a_wrong_configuration_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("config", "check").code == 0
    config = tmp_path / "mine.toml"
    config.write_text("[lease]\nseconds = 'soon'\nstuk_s = 5\n")
    wrong = run("config", "check", "--config", config)
    assert wrong.code == 2
    assert "lease.seconds" in wrong.err
    assert "lease.stuk_s" in wrong.err
    config.write_text("[lease\n")
    assert "configuration is wrong" in run("--config", config, "config", "check").err
    monkeypatch.delenv("WANFARM_CONFIG", raising=False)
    monkeypatch.setenv("WANFARM_LEASE__STUCK_S", "1")
    assert "stuck_s must not be shorter" in run("config", "check").err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    script = run("completion", shell).out
    assert "_WANFARM_COMPLETE" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_completion_completes() -> None:
    words = {"COMP_WORDS": "wanfarm ten", "COMP_CWORD": "1", "_WANFARM_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-m", "farm.cli"], env={**os.environ, **words}, capture_output=True, text=True, check=False
    )
    assert "tenants" in done.stdout


def test_the_first_keys_of_a_farm_and_prometheus_own(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANFARM_REDIS__LEDGER_URL", settings.redis.ledger_url)
    command = ("keys", "first", "--url", "http://gateway:8000", "--metrics-key", tmp_path / "key")
    for _ in range(2):
        # as at every start: what is there is kept
        run(*command, "--state-dir", tmp_path / "state").ok()
        notes = tomllib.loads((tmp_path / "state/client.toml").read_text())
        assert notes["url"] == "http://gateway:8000"
        assert Tenants(redis, settings).api_keys.authenticate((tmp_path / "key").read_text()) is not None
    assert len(run("tenants", "list", "--json").document) == 1


def test_tenants_and_keys(settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANFARM_REDIS__LEDGER_URL", settings.redis.ledger_url)
    monkeypatch.chdir(tmp_path)
    made = run("tenants", "create", "studio-a", "--weight", "2", "--max-open", "10", "--json").document
    assert made["api_key"].startswith("wf_live_")
    assert made["tenant"]["weight"] == 2
    assert run("tenants", "create", "studio-a").code == 4
    assert run("tenants", "create", "No Such Id").code == 4
    # a pool may be named before its first worker starts, and a slip of the pen is said
    early = run("tenants", "set", "studio-a", "--max-running-in", "h100=3").ok()
    assert "has named a pool 'h100' yet" in early.err
    assert "yet" not in run("tenants", "set", "studio-a", "--max-running-in", "h100=any").ok().err
    run("tenants", "set", "studio-a", "--no-limits", "--name", "Studio A").ok()
    listed = run("tenants", "list", "--json").document
    assert [(t["id"], t["name"], t["max_open"]) for t in listed] == [("studio-a", "Studio A", None)]
    assert "Studio A" in run("tenants", "list").ok().out
    # without a limit of its own, the farm's holds
    assert f" {settings.scheduling.max_open} " in run("tenants", "list").ok().out
    shown = run("tenants", "show", "studio-a").ok().out
    assert f"open at most: {settings.scheduling.max_open}, as the settings say\n" in shown
    assert "running at most: any number\n" in shown
    assert listed[0]["provenance"] is None
    # signing is possible where the agents are, and only they know
    wanted = run("tenants", "set", "studio-a", "--provenance", "required").ok()
    assert "no certificate is configured here" in wanted.err
    assert run("tenants", "list", "--json").document[0]["provenance"] == "required"
    assert "required" in run("tenants", "list").ok().out
    assert "provenance required\n" in run("tenants", "show", "studio-a").ok().out
    run("tenants", "set", "studio-a", "--provenance", "default").ok()
    assert "provenance off, as the settings say" in run("tenants", "show", "studio-a").ok().out
    assert run("tenants", "set", "studio-a", "--provenance", "maybe").code == 2
    assert run("tenants", "show", "nobody").code == 4
    shown = run("keys", "create", "studio-a", "--role", "operator", "--name", "ops").ok()
    assert shown.out.strip().startswith("wf_live_")
    keys = run("keys", "list", "studio-a", "--json").document
    assert [(key["role"], key["name"]) for key in keys] == [("admin", "first"), ("operator", "ops")]
    # a key is never to be seen again
    assert shown.out.strip() not in run("keys", "list", "studio-a").ok().out
    run("keys", "revoke", keys[1]["id"]).ok()
    assert run("keys", "revoke", keys[1]["id"]).code == 4
    assert run("keys", "list", "nobody").code == 4


def test_a_redis_that_is_away_is_said_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANFARM_REDIS__LEDGER_URL", "redis://:secret@127.0.0.1:1/0")
    monkeypatch.chdir(tmp_path)
    away = run("tenants", "list")
    assert away.code == 3
    assert "wanfarm up" in away.err
    assert "secret" not in away.err


def test_a_named_file_that_leaves_the_addresses_to_up_finds_the_farm(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same WANFARM_CONFIG in both terminals."""
    folder = StateFolder(settings.state_dir)
    folder.make()
    folder.write_private(folder.settings_file, settings_file.render(settings))
    mine = tmp_path / "mine.toml"
    mine.write_text(f'state_dir = "{settings.state_dir}"\n[worker]\nlora_cache_gb = 7.0\n')
    monkeypatch.setenv("WANFARM_CONFIG", str(mine))
    run("tenants", "create", "acme").ok()
    shown = run("config", "show", "--json").document
    assert shown["redis"]["ledger_url"] == settings.redis.ledger_url
    assert shown["s3"]["endpoint"] == settings.s3.endpoint
    assert shown["worker"]["lora_cache_gb"] == 7.0
    # one that names its own is believed
    mine.write_text(mine.read_text() + '[redis]\nledger_url = "redis://127.0.0.1:1/0"\n')
    assert "redis://127.0.0.1:1/0" in run("tenants", "list").err


def test_up_refuses_half_a_configuration_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANFARM_REDIS__LEDGER_URL", "redis://db/0")
    refused = run("up", "--state-dir", tmp_path / "farm")
    assert refused.code == 1
    assert (
        refused.err == "wanfarm: redis.ledger_url is set but redis.broker_url is not; give both (separate databases)\n"
    )


def test_models_that_do_not_exist_are_usage_errors(tmp_path: Path) -> None:
    wrong = run("models", "verify", "wan-9", "--models-dir", tmp_path)
    assert wrong.code == 2
    assert "wan2.2-ti2v-5b" in wrong.err
    assert run("models", "verify", "--models-dir", tmp_path).code == 1
    assert "are built" in run("models", "pull", "wan2.2-ti2v-5b-tiny", "--models-dir", tmp_path).err


def test_a_defect_is_one_line_and_a_trace_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise KeyError("ours")

    monkeypatch.setattr("farm.cli.example.example", broken)
    seen = run("config", "example")
    assert (seen.code, seen.err.count("\n")) == (70, 1)
    monkeypatch.setenv("WANFARM_DEBUG", "1")
    with pytest.raises(KeyError):
        run("config", "example")


def test_a_quarantine_is_lifted(settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANFARM_REDIS__LEDGER_URL", settings.redis.ledger_url)
    ledger = Ledger(redis, settings)
    ledger.worker_seen("host/gpu-0", "default", WorkerStatus(state=WorkerState.QUARANTINED), ttl_s=60, slots=0)
    ledger.worker_seen("host/gpu-1", "default", WorkerStatus(), ttl_s=60)
    assert run("workers", "forgive", "host/gpu-0").code == 2
    why = ("--why", "a new card")
    assert run("workers", "forgive", "host/gpu-0", *why, "--json").document == {"forgiven": "host/gpu-0"}
    assert [(one.act, one.why) for one in ledger.operations()] == [("forgive", "a new card")]
    assert ledger.forgiven("host/gpu-0")
    assert "not quarantined" in run("workers", "forgive", "host/gpu-1", *why).err
    assert "no live worker" in run("workers", "forgive", "gpu-0", *why).err
    assert not ledger.forgiven("host/gpu-1")
