"""Every curl command of the five documents, run by a shell against the gateway with only host and key changed. Where a
command asks for the document's own task, it is run again with one that is there. Answers have the documented shape."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import seed_texts
from dialect_parts import Worker
from seed_texts import answers, curls, shape

from api.services import Services
from farm.tenants import vault
from farm.wire import apixo, crun, kie, wiro
from tests.api.api_parts import Caller, picture

Make = Callable[..., Caller]
HOSTS = ("https://api.kie.ai", "https://api.apixo.ai", "https://api.crun.ai", "https://api.wiro.ai",
         "http://<your-server-ip>:8000")  # fmt: skip
KEYS = ("YOUR_API_KEY", "<api-key>", "<your-api-key>")

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("curl", "openssl"))), reason="the documents' commands need curl and openssl on PATH"
)


class Shell:
    """Runs a document's command as somebody would who pasted it."""

    def __init__(self, door: str, key: str, folder: Path) -> None:
        self.door, self.key, self.folder = door, key, folder
        #: shell text that comes before the command
        self.before = ""

    def __call__(self, command: str, *changes: tuple[str, str]) -> Any:
        for host in HOSTS:
            command = command.replace(host, self.door)
        for key in KEYS:
            command = re.sub(rf"(?<![$A-Z{{]){re.escape(key)}", self.key, command)
        for old, new in changes:
            assert old in command, f"{old} is not in the document's command"
            command = command.replace(old, new)
        done = subprocess.run(
            ["bash", "-ec", self.before + command.replace("curl ", "curl -sS ", 1)],
            cwd=self.folder, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def alice(caller: Make, worker: Worker) -> Caller:
    return caller("alice")


@pytest.fixture
def shell(door: str, alice: Caller, tmp_path: Path) -> Shell:
    (tmp_path / "image.jpg").write_bytes(picture(form="JPEG"))
    return Shell(door, alice.key, tmp_path)


def without(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k not in keys}


def test_kie(shell: Shell, worker: Worker) -> None:
    documented = answers("kie", "code")
    move, swap, query = curls("kie")
    task = ""
    for command, like in zip((move, swap), documented[:2], strict=True):
        answer = shell(command)
        assert shape(without(answer, "message")) == shape(like)
        assert answer["message"] == answer["msg"] == "success"
        task = kie.parse_created(answer)
        assert task.startswith("task_wan_")
    assert without(shell(query), "message") == {"code": 422, "msg": "recordInfo is null", "data": None}
    for _ in range(2):
        worker.render()
    answer = shell(query, ("task_wan_1765184995754", task))
    assert shape(without(answer, "msg")) == shape(documented[2])
    assert json.loads(answer["data"]["param"])["model"] == "wan/2-2-animate-replace"
    assert json.loads(json.loads(json.dumps(answer["data"]["resultJson"])))["resultUrls"][0].startswith("http")


def test_apixo(shell: Shell, worker: Worker) -> None:
    created, status = answers("apixo", "code")
    animate, swap, query = curls("apixo")
    for command in (animate, swap):
        answer = shell(command)
        assert shape(answer) == shape(created)
        task = apixo.parse_created(answer)
    assert shell(query) == {"code": 404, "message": "Not found", "data": {"error": "Task not found"}}
    assert set(shell(query, ("task_12345678", task))["data"]) == {"taskId", "state", "createTime"}
    for _ in range(2):
        worker.render()
    answer = shell(query, ("task_12345678", task))
    assert shape(answer) == shape(status)
    assert answer["data"]["costTime"] == answer["data"]["completeTime"] - answer["data"]["createTime"]


def test_crun(shell: Shell) -> None:
    (created,) = answers("crun", "code")
    (command,) = curls("crun")
    answer = shell(command)
    assert shape(answer) == shape(created)
    assert len(crun.parse_created(answer)) == 36


@pytest.fixture
def signing(shell: Shell, parts: Services, alice: Caller) -> None:
    """The document's own recipe for key, secret, nonce and signature, run by the same shell; the key must sign."""
    recipe = re.search(r"```bash # Sign up.*?(export YOUR_API_KEY=.*?)```", seed_texts.text("wiro"), re.DOTALL)
    assert recipe is not None
    lines = re.sub(r" # unix time.*?(?= export)", "", recipe[1])
    lines = lines.replace("{{useSelectedProjectAPIKey}}", alice.key).replace("XXXXXXXXX", "the-api-secret")
    assert lines.count("export") == 4
    shell.before = lines.replace(" export", "\nexport").rstrip() + "\n"
    who = parts.tenants.api_keys.authenticate(alice.key)
    assert who is not None
    parts.secrets.set("alice", vault.signing(who.key_id), "the-api-secret")


@pytest.mark.usefixtures("signing")
def test_wiro(shell: Shell, door: str, worker: Worker) -> None:
    (created,) = answers("wiro", "taskid", "result")
    (detail,) = answers("wiro", "total")
    stopped = [a for a in answers("wiro", "tasklist") if "total" not in a]
    run, by_id, by_token, kill_id, kill_token, cancel = curls("wiro")
    # the document's picture is a file name: one that was uploaded before
    (shell.folder / "wan_2_2_input.jpg").write_bytes(picture(form="JPEG"))
    sent = shell(
        f'curl -X POST "{door}/v1/File/Upload" -H "x-api-key: ${{YOUR_API_KEY}}" -H "x-nonce: ${{NONCE}}" '
        '-H "x-signature: ${SIGNATURE}" -F file=@wan_2_2_input.jpg'
    )
    assert sent["result"] is True
    answer = shell(run)
    assert shape(answer) == shape(created)
    task, token = wiro.parse_created(answer)
    assert task.isdecimal()
    assert len(token) == len(created["socketaccesstoken"])

    missing = {"result": False, "errors": [{"code": 1, "message": "There is no task yet."}]}
    assert [shell(c) for c in (by_id, by_token, kill_id, kill_token, cancel)] == [missing] * 5
    worker.render()
    for answer in (shell(by_id, ("2221", task)), shell(by_token, ("eDcCm5yyUfIvMFspTwww49OUfgXkQt", token))):
        ours, theirs = answer["tasklist"][0], detail["tasklist"][0]
        assert shape(without(answer, "tasklist")) == shape(without(detail, "tasklist"))
        parameters = ours["parameters"]
        others = ("pexit", "cps", "totalcost", "modelslugowner", "modelslugproject", "parameters")
        assert shape(without(ours, *others)) == shape(without(theirs, "parameters"))
        assert (ours["status"], ours["pexit"], parameters["seed"]) == ("task_postprocess_end", "0", "42")

    (queued, _), (running, token) = (wiro.parse_created(shell(run)) for _ in range(2))
    for command, change, like in (
        (cancel, ("634574", queued), stopped[1]),
        (kill_token, ("ZpYote30on42O4jjHXNiKmrWAZqbRE", token), stopped[0]),
    ):
        answer = shell(command, change)
        ours, theirs = answer["tasklist"][0], like["tasklist"][0]
        assert list(ours) == list(theirs)
        assert shape(without(ours, "parameters", "outputs")) == shape(without(theirs, "parameters", "outputs"))
        assert ours["status"] == "task_cancel"
    assert shell(kill_id, ("534574", running))["errors"][0]["message"].startswith("Task could not be killed")


def test_selfhosted(shell: Shell, worker: Worker) -> None:
    health, created, status = [a for a in answers("selfhosted", "status") if "prompt" not in a]
    listing = next(v for v in seed_texts.json_values("selfhosted") if isinstance(v, list))
    assert set(health) == {"status", "model_loaded", "current_job"}
    # the document was written on a Mac, whose base64 writes one line
    shell.before = 'base64() { command base64 -w0 "$2"; }\n'
    by_text, by_url, by_base64, one, every, some = curls("selfhosted")
    answer = shell(by_text)
    assert shape(answer) == shape(created)
    assert list(shell(by_url)) == ["detail"], "the document's picture is not to be had here"
    assert shape(shell(by_base64)) == shape(created)
    assert shell(one) == {"detail": "Job not found"}
    for _ in range(2):
        worker.render()
    assert shape(shell(one, ("550e8400-e29b-41d4-a716-446655440000", answer["job_id"]))) == shape(status)
    for command in (every, some):
        jobs = shell(command)
        assert len(jobs) == 2
        assert shape(jobs) == shape(listing)
