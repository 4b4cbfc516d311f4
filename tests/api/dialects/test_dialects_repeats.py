"""What clients send twice, or send to mean nothing: keys, event ids, seeds, byte order marks."""

import codecs
import json
from collections.abc import Callable
from typing import Any

import pytest
from dialect_parts import ANIMATE, CLIENTS, CRUN, I2V, KIE, OPENAI, T2V, WIRO, Client, Worker

from api.services import Services
from farm.jobs.errors import InvalidRequest
from farm.wire import apixo, crun, kie, openai, own, wiro
from tests.api.api_parts import TINY, Caller

Make = Callable[..., Caller]


@pytest.fixture
def alice(caller: Make, worker: Worker) -> Caller:
    worker.offer(T2V, I2V, ANIMATE, TINY)
    return caller("alice")


def keyed(client: Client, caller: Caller, body: Any, key: str = "one") -> Any:
    headers = {**client.key(caller.key), "Idempotency-Key": key}
    return caller.client.post(client.path, json=body, headers=headers)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_the_same_key_makes_one_job_in_every_dialect(
    client: Client, alice: Caller, caller: Make, parts: Services
) -> None:
    first, again = (keyed(client, alice, client.body) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200), first.text + again.text
    assert client.created(first.json) == client.created(again.json)
    assert len(parts.ledger.page("alice").jobs) == 1
    if client is WIRO:
        assert first.json["socketaccesstoken"] == again.json["socketaccesstoken"]
    asked = json.loads(json.dumps(client.body))
    asked.get("input", asked)["prompt"] = "another"
    other = keyed(client, alice, asked)
    assert client.error(other.status_code, other.json, other.headers) is not None, "another request, another key"
    assert len(parts.ledger.page("alice").jobs) == 1
    assert keyed(client, caller("bob"), client.body).status_code == 200
    assert len(parts.ledger.page("bob").jobs) == 1, "keys are each tenant's own"


@pytest.mark.parametrize("nothing", ["", "undefined", "null", " "])
def test_an_event_id_that_is_none_begins_anew(alice: Caller, nothing: str) -> None:
    job = alice.submit(model=TINY)
    alice.delete(f"/v1/jobs/{job['id']}")
    told = alice.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": nothing})
    assert (told.status_code, b"event: snapshot" in told.data) == (200, True)


def test_a_byte_order_mark_is_no_part_of_a_body(alice: Caller) -> None:
    for path, body in (("/v1/jobs", {"prompt": "x", "model": TINY}), (OPENAI.path, OPENAI.body), (KIE.path, KIE.body)):
        data = codecs.BOM_UTF8 + json.dumps(body).encode()
        made = alice.post(path, data=data, content_type="application/json")
        assert made.status_code in (200, 201), made.text


PAGE = "https://example.com/a.png"


@pytest.mark.parametrize(
    "parse",
    [
        lambda seed: kie.parse_create({**KIE.body, "input": {**KIE.body["input"], "seed": seed}}),
        lambda seed: crun.parse_create({**CRUN.body, "input": {**CRUN.body["input"], "seed": seed}}),
        lambda seed: wiro.parse_create("Wan-AI/Wan2.2-I2V-A14B", {**WIRO.body, "seed": seed}, {}),
        lambda seed: openai.parse_create({"prompt": "x", "seed": seed}),
        lambda seed: own.parse_create(json.dumps({"prompt": "x", "seed": int(seed)}).encode()),
        lambda seed: apixo.parse_create(
            "wan-2-2-animate", {"input": {"type": "animate", "image_urls": [PAGE], "video_urls": [PAGE], "seed": seed}}
        ),
    ],
)
def test_seed_minus_one_is_a_random_one(parse: Callable[[Any], Any]) -> None:
    assert parse("-1").seed is None
    assert parse("7").seed == 7


def test_kies_seed_0_is_nobodys_choice() -> None:
    body = {**KIE.body, "input": {**KIE.body["input"], "seed": 0}}
    draft = kie.parse_create(body)
    assert draft.seed is None
    with pytest.raises(InvalidRequest):
        kie.render_create(openai.parse_create({"prompt": "x", "seed": 0, "model": draft.model}))


@pytest.mark.parametrize("size", ["1280x720", "1280*720", "1280X720"])
def test_a_size_is_read_as_clients_write_it(size: str) -> None:
    draft = openai.parse_create({"prompt": "x", "size": size})
    assert (draft.width, draft.height) == (1280, 720)
