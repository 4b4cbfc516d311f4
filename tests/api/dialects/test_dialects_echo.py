"""What a client sent is repeated in no length: errors quote a thousand characters of it, field names fewer."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dialect_parts import CLIENTS, Client, Worker

from api.problems import MAX_ECHO
from tests.api.api_parts import Caller

LONG = "x" * 300_000


def with_something_long(body: Any) -> Iterator[Any]:
    """The body with each of its texts, and with one name, as long as that."""
    places = [(), *((name,) for name, value in body.items() if isinstance(value, dict))]
    for place in places:
        for name in [*(body[place[0]] if place else body), LONG]:
            made = copy.deepcopy(dict(body))
            (made[place[0]] if place else made)[name] = LONG
            yield made


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_no_answer_repeats_a_long_text(client: Client, caller: Callable[..., Caller], worker: Worker) -> None:
    alice = caller("alice")
    for body in with_something_long(client.body):
        answer = client.submit(alice, body=body)
        assert 200 <= answer.status_code < 500
        assert len(answer.data) < 4 * MAX_ECHO, answer.text[:200]


def test_nor_do_the_farms_own_answers(caller: Callable[..., Caller], worker: Worker) -> None:
    alice = caller("alice")
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/jobs", {"json": {"prompt": "a fox", "model": LONG}}),
        ("POST", "/v1/jobs", {"json": {"prompt": "a fox", LONG: 1}}),
        ("POST", "/v1/jobs", {"json": {"prompt": "a fox", "loras": [{"lora": LONG}]}}),
        ("POST", "/v1/jobs", {"json": {"prompt": "a fox", "image": {LONG: "x"}}}),
        ("GET", "/v1/jobs?label=" + LONG[:5000], {}),
        ("GET", "/v1/jobs/" + LONG[:5000], {}),
        ("GET", "/" + LONG[:5000], {}),
    ]
    for method, path, more in asked:
        answer = alice.ask(method, path, **more)
        assert len(answer.data) < 4 * MAX_ECHO, answer.text[:200]
