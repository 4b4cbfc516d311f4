"""docs/adding-a-dialect.md is true: the dialect on that page, added as the page says, takes a job to its end."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from dialect_parts import T2V, Worker
from flask import Flask
from receiver import Receiver

from api import app as gateway
from api.services import EXTENSION, Services
from farm.config import Settings
from farm.guard import Guard
from farm.jobs.errors import InvalidRequest
from farm.jobs.states import State
from farm.webhooks.postman import Postman
from farm.wire import dialects, model_ids, task_ids
from farm.wire.dialects import DialectRules
from farm.wire.model_ids import Meaning
from farm.wire.task_ids import prefixed
from tests.api.api_parts import Caller
from tests.conftest import wait_until

PAGE = (Path(__file__).parents[3] / "docs" / "adding-a-dialect.md").read_text()
#: file -> its text, as the page has it
FILES = dict(re.findall(r"^```python (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
#: table -> the entry, as the page has it
ENTRIES = dict(re.findall(r"^\| `(\w+)` in `[\w/.]+` \| `(.*)` \|", PAGE, re.MULTILINE))


def module(name: str, patch: pytest.MonkeyPatch) -> ModuleType:
    """The page's file of that name, where an import finds it."""
    path = name.replace(".", "/") + ".py"
    made = ModuleType(name)
    patch.setitem(sys.modules, name, made)
    package, _, last = name.rpartition(".")
    patch.setattr(sys.modules[package], last, made, raising=False)
    exec(compile(FILES[path], path, "exec"), made.__dict__)
    return made


@pytest.fixture
def app(settings: Settings, app: Flask, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """The gateway of the other tests, with one dialect more."""
    codec = module("farm.wire.acme", monkeypatch)
    shell = module("api.acme", monkeypatch)
    known = {"acme": codec, "Meaning": Meaning, "prefixed": prefixed, "DialectRules": DialectRules}
    for table, name in ((model_ids.TABLE, "TABLE"), (task_ids.SPELLINGS, "SPELLINGS"), (dialects.RULES, "RULES")):
        for key, value in eval("{" + ENTRIES[name] + "}", known).items():
            monkeypatch.setitem(table, key, value)
    entry = eval(ENTRIES["DIALECTS"], {"acme": shell})
    monkeypatch.setattr(gateway, "DIALECTS", (*gateway.DIALECTS, entry))
    made = gateway.create_app(settings)
    made.extensions[EXTENSION] = app.extensions[EXTENSION]
    return made


def test_a_job_comes_in_is_rendered_and_its_receiver_is_told(
    caller: Callable[..., Caller],
    worker: Worker,
    parts: Services,
    settings: Settings,
    receivers: Callable[..., Receiver],
) -> None:
    acme, alice, receiver = sys.modules["farm.wire.acme"], caller("alice"), receivers()
    made = alice.post("/acme/tasks", json={"engine": "Vision-2", "text": "a fox", "notify": receiver.url})
    assert made.status_code == 200, made.text
    task = made.json["task"]
    assert task.startswith("acme_")
    assert alice.get(f"/acme/tasks/{task}").json == {"task": task, "status": "new"}
    assert caller("bob").get(f"/acme/tasks/{task}").status_code == 404

    claim = worker.claim()
    assert (claim.job.spec.model, claim.job.spec.prompt) == (T2V, "a fox")
    worker.finish(claim)
    told = acme.parse_status(alice.get(f"/acme/tasks/{task}").json)
    assert (told.state, len(told.urls)) == (State.SUCCEEDED, 1)
    postman = Postman(settings, parts.redis, parts.ledger, parts.store, Guard(settings.intake))
    wait_until(lambda: (postman.look(), receiver.posts)[1], what="the callback")
    postman.close()
    assert acme.parse_status(receiver.posts[0].json).urls
    assert receiver.posts[0].json.keys() == {"task", "status", "video"}


def test_errors_are_in_its_words(caller: Callable[..., Caller], app: Flask) -> None:
    alice = caller("alice")
    assert alice.post("/acme/tasks", json={"engine": "vision-2", "text": "a", "seed": "x"}).json == {
        "problem": "seed: 'x' is not a number",
        "code": 422,
    }
    assert alice.post("/acme/tasks", json={"engine": "vision-3"}).status_code == 404
    assert alice.get("/acme/nowhere").json["code"] == 404
    assert app.test_client().get("/acme/tasks/x").json["code"] == 401


def test_what_it_asks_a_provider_is_what_it_reads(app: Flask) -> None:
    acme = sys.modules["farm.wire.acme"]
    asked = {"engine": "vision-2", "text": "a fox", "seed": 7, "notify": "https://example.com/hook"}
    assert acme.render_create(acme.parse_create(asked)) == asked
    refused = acme.render_error(InvalidRequest("is no number", "seed"))
    error = acme.parse_error(refused.status, refused.body)
    assert isinstance(error, InvalidRequest)
