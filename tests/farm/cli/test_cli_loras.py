"""`wanfarm loras` and `--lora`, against a gateway that listens."""

from pathlib import Path

import pytest

from farm.client import Client
from farm.jobs.errors import Conflict, InvalidRequest, NotFound, TooLarge
from tests.api.api_parts import TINY
from tests.farm.cli.cli_run import run
from tests.farm.client.conftest import Gateway
from tests.lora_files import WIDE, lora_bytes


@pytest.fixture
def file(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A LoRA; the command finds the gateway by its environment."""
    with gateway.client() as client:
        monkeypatch.setenv("WANFARM_URL", client.url)
        monkeypatch.setenv("WANFARM_API_KEY", client.key)
    path = tmp_path / "fox_v2.safetensors"
    path.write_bytes(lora_bytes(seed=1, wide=WIDE))
    return path


def test_add_list_show_wear_remove(file: Path) -> None:
    assert run("loras", "list").ok().err == "no LoRAs; wanfarm loras add FILE\n"
    added = run("loras", "add", file).ok()
    assert added.out == "fox_v2\n"
    assert TINY in added.err
    listed = run("loras", "list").ok().out.splitlines()
    assert listed[1].split()[:3] == ["fox_v2", "2", "6.6"]
    assert f"fits {TINY}" in run("loras", "show", "fox_v2").ok().out
    shown = run("loras", "show", "fox_v2", "--json").document
    job = run("submit", "-p", "x", "--model", TINY, "--lora", "fox_v2:0.8", "--json").document
    assert [(one["sha256"], one["scale"]) for one in job["loras"]] == [(shown["sha256"], 0.8)]
    assert "fox_v2:0.8:both" in run("show", job["id"]).ok().out
    shots = file.parent / "shots.jsonl"
    shots.write_text('{"prompt": "a"}\n{"prompt": "b", "loras": ["fox_v2:0.3"]}\n')
    made = run("submit", "--from", shots, "--model", TINY, "--lora", "fox_v2:0.5", "--json").document
    assert [[one["scale"] for one in job["loras"]] for job in made] == [[0.5], [0.3]]
    assert run("loras", "remove", "fox_v2").ok().out == "fox_v2\n"
    gone = run("submit", "-p", "x", "--model", TINY, "--lora", "fox_v2")
    assert (gone.code, "you have no LoRA 'fox_v2'" in gone.err) == (4, True)
    assert run("loras", "remove", "fox_v2").code == 4
    for text in ("fox:much", "fox:nan", "fox:11", ":1", "fox:1:middle", "fox:1:high:x"):
        assert run("submit", "-p", "x", "--lora", text).code == 2


def test_the_client_says_what_is_wrong(file: Path, farm: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    lora = farm.loras.add(file, "fox")
    assert farm.loras.list() == [lora]
    assert farm.loras.get(lora.id) == lora
    made = farm.jobs.create("x", model=TINY, loras=[lora])
    assert [one.name for one in made.loras] == ["fox"]
    with pytest.raises(Conflict, match="delete it"):
        farm.loras.add(file, "fox")
    with pytest.raises(NotFound):
        farm.loras.get("../jobs")
    with pytest.raises(NotFound):
        farm.loras.remove("..")
    (file.parent / "text").write_text("no tensors at all")
    with pytest.raises(InvalidRequest, match="not a safetensors file"):
        farm.loras.add(file.parent / "text")
    # a file that was changed on its way is noticed
    send = farm.loras._transport.store
    monkeypatch.setattr(
        farm.loras._transport, "store", lambda url, data, size: send(url, lora_bytes(seed=2, wide=WIDE))
    )
    with pytest.raises(InvalidRequest, match="what arrived is not what was sent"):
        farm.loras.add(file, "wolf")


def test_a_file_that_is_too_large_is_not_sent(file: Path, gateway: Gateway, farm: Client) -> None:
    before = gateway.parts.store.list("uploads/studio/")
    with file.open("r+b") as sparse:
        sparse.truncate(gateway.parts.settings.loras.max_bytes + 1)
    with pytest.raises(TooLarge, match="2147483649 bytes are more"):
        farm.loras.add(file)
    assert gateway.parts.store.list("uploads/studio/") == before
