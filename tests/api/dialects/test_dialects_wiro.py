"""What is wiro's own: bodies in every wrapping, signatures, lists, and the WebSocket."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from dialect_parts import PICTURE, SLUG, WIRO, Worker
from simple_websocket import Client as Socket
from simple_websocket import ConnectionClosed

from api.services import Services
from farm.jobs.errors import Unauthorized
from farm.jobs.states import State
from farm.tenants import vault
from farm.wire import wiro, wiro_auth, wiro_socket, wiro_task
from tests.api.api_parts import VIDEO, Caller, picture

Make = Callable[..., Caller]
RUN = f"/v1/Run/{SLUG}"


@pytest.fixture
def alice(caller: Make, worker: Worker) -> Caller:
    return caller("alice")


def post(who: Caller, path: str, **more: Any) -> Any:
    answer = who.client.post(path, headers={"x-api-key": who.key, **more.pop("headers", {})}, **more)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_real_multipart_with_text_and_files(alice: Caller, worker: Worker) -> None:
    form = {"inputImage": (io.BytesIO(picture()), "fox.png"), "inputImageUrl": "", "prompt": "wave",
            "steps": "4", "numFrames": "17", "seed": ""}  # fmt: skip
    assert post(alice, RUN, data=form)["result"] is True
    as_text = {"inputImageUrl": f"{PICTURE},https://example.com/two.png", "prompt": "wave", "scale": "5.0"}
    assert post(alice, RUN, data=as_text, content_type="multipart/form-data")["result"] is True
    specs = [job.spec for job in worker.ledger.page("alice").jobs]
    assert {spec.inputs["image"].url for spec in specs} == {None, PICTURE}
    urlencoded = post(alice, "/v1/Task/Detail", data={"tasktoken": "test"})
    assert urlencoded["errors"][0] == {"code": 1, "message": wiro.NO_TASK}


def test_json_under_any_label_and_percent_encoded_models(alice: Caller) -> None:
    body = json.dumps({"inputImageUrl": PICTURE, "prompt": "wave"})
    for label in ("multipart/form-data", "application/x-www-form-urlencoded", "text/plain", "application/json"):
        assert post(alice, RUN, data=body, content_type=label)["result"] is True
    for path in ("/v1/Run/wan-ai/wan2-2-i2v-a14b", "/v1/Run/Wan%2DAI/Wan2.2%2DI2V%2DA14B"):
        assert post(alice, path, data=body)["result"] is True
    assert post(alice, "/v1/Run/alibaba/wan%202.6", data=body)["errors"][0]["message"] == "tool-not-accessible"
    assert post(alice, "/v1/Run/some/thing", data=body)["errors"][0]["message"] == "slug-owner-project-not-exist"
    unknown = alice.client.post("/v1/Task/Nonsense", headers={"x-api-key": alice.key})
    assert (unknown.status_code, unknown.json["errors"][0]["message"]) == (404, "Error parsing url.")


def test_a_key_with_a_secret_must_sign(alice: Caller, parts: Services) -> None:
    who = parts.tenants.api_keys.authenticate(alice.key)
    assert who is not None
    parts.secrets.set("alice", vault.signing(who.key_id), "s3cret")

    def said(headers: dict[str, str]) -> str:
        answer = alice.client.post("/v1/Task/List", json={}, headers={"x-api-key": alice.key, **headers})
        return "ok" if answer.status_code == 200 else f"{answer.status_code} {answer.json['errors'][0]['message']}"

    assert said({}) == f"401 {wiro_auth.MISSING}"
    assert said({"x-nonce": "1", "x-signature": "0" * 64}) == f"401 {wiro_auth.WRONG}"
    for nonce in ("1734513807", "1734513807123", "42", "any text"):
        good = wiro_auth.sign(alice.key, "s3cret", nonce)
        assert said({"x-nonce": nonce, "x-signature": good}) == "ok"
        assert said({"x-nonce": nonce, "x-signature": f"SHA2-256(stdin)= {good}"}) == "ok"
    answer = alice.client.post("/v1/Task/List", json={}, headers={"x-api-key": "unknown"})
    assert answer.json == {"result": False, "errors": [{"code": 0, "message": wiro_auth.UNKNOWN}]}
    assert isinstance(wiro.parse_error(401, answer.json), Unauthorized)


def test_lists_tools_and_files(alice: Caller, caller: Make, worker: Worker) -> None:
    tasks = [WIRO.made(alice) for _ in range(3)]
    told = post(
        alice, "/v1/Task/List", json={"type": "model", "sort": "id", "order": "DESC", "start": "0", "limit": "2"}
    )
    assert ([t["id"] for t in told["tasklist"]], told["total"]) == (tasks[:0:-1], "3")
    told = post(alice, "/v1/Task/List", json={"order": "ASC", "start": "1", "modelName": "wan2.2"})
    assert [t["id"] for t in told["tasklist"]] == tasks[1:]
    assert post(caller("bob"), "/v1/Task/List", data=b"")["tasklist"] == []
    worker.render()
    done = next(t for t in post(alice, "/v1/Task/List", json={})["tasklist"] if t["outputs"])
    assert (done["pexit"], done["outputs"][0]["size"]) == ("0", str(len(VIDEO)))
    for _ in range(2):
        assert (
            post(alice, "/v1/Task/InputOutputDelete", json={"tasktoken": done["socketaccesstoken"]})["result"] is True
        )
    again = post(alice, "/v1/Task/Detail", json={"taskid": done["id"]})["tasklist"][0]
    assert (again["status"], again["outputs"]) == ("task_postprocess_end", [])
    open_task = post(alice, "/v1/Task/InputOutputDelete", json={"taskid": tasks[2]})
    assert open_task["result"] is False
    tools = post(alice, "/v1/Tool/List", json={"search": "wan"})["tool"]
    assert [f"{t['slugowner']}/{t['slugproject']}" for t in tools] == [SLUG]
    tool = post(alice, "/v1/Tool/Detail", json={"slugowner": "wan-ai", "slugproject": "wan2-2-i2v-a14b"})["tool"][0]
    prices = json.loads(tool["dynamicprice"])
    assert {p["inputs"]["resolution"]: p["price"] for p in prices}["480P"] == 1.5 * 0.005
    assert post(alice, "/v1/Tool/Detail", json={"slugowner": "x", "slugproject": "y"})["result"] is False
    nothing = post(alice, "/v1/File/Upload", data={"folderid": "7"})
    assert nothing["errors"][0]["message"] == "Request files [file] required"


def test_cost_is_told_in_dollars(alice: Caller, worker: Worker, parts: Services) -> None:
    parts.ledger.topup("alice", 100_000_000)
    task = WIRO.made(alice)
    worker.render()
    told = post(alice, "/v1/Task/Detail", json={"taskid": task})["tasklist"][0]
    charged = parts.ledger.statement("alice")[-1].amount
    assert float(told["totalcost"]) == pytest.approx(charged / 1e6 * 0.005, abs=1e-6)


class Watch:
    """A client of the socket, which collects what it hears."""

    def __init__(self, door: str, token: str, path: str = "/v1") -> None:
        self.socket = Socket.connect(door.replace("http://", "ws://") + path)
        self.socket.send(wiro_socket.render_registration(token))

    def frame(self) -> dict[str, Any]:
        text = self.socket.receive(timeout=90)
        assert text is not None, "the socket said nothing for 20 s"
        frame = json.loads(text)
        assert isinstance(frame, dict)
        return frame

    def rest(self) -> list[dict[str, Any]]:
        found = []
        try:
            while True:
                found.append(self.frame())
        except ConnectionClosed:
            return found


def test_the_socket_tells_a_tasks_life_in_order(alice: Caller, worker: Worker, door: str) -> None:
    made = post(alice, RUN, json=dict(WIRO.body))
    watch = Watch(door, made["socketaccesstoken"])
    first = watch.frame()
    assert (first["type"], first["id"], first["tasktoken"]) == ("task_queue", made["taskid"], made["socketaccesstoken"])
    worker.take_in()
    claim = worker.claim()
    heard = [first]
    for step in (1, 2, 3):
        worker.progress(claim, step, 4)
        while heard[-1]["type"] != "task_output" or heard[-1]["message"]["stepCurrent"] != str(step):
            heard.append(watch.frame())
    worker.finish(claim)
    heard += watch.rest()
    order = [f["type"] for f in heard]
    assert [kind for n, kind in enumerate(order) if kind not in order[:n]] == list(wiro_task.ORDER)
    assert order == sorted(order, key=wiro_task.ORDER.index), "nothing goes back"
    assert heard[-1]["message"][0]["url"].startswith("http")
    late = Watch(door, made["socketaccesstoken"], "/v1/socket").rest()
    assert [f["type"] for f in late] == ["task_postprocess_end"]


def test_the_socket_and_strangers(alice: Caller, worker: Worker, door: str) -> None:
    made = post(alice, RUN, json=dict(WIRO.body))
    token = made["socketaccesstoken"]
    for wrong in ("", "x" * 30, token[:-1] + ("a" if token[-1] != "a" else "b")):
        (said,) = Watch(door, wrong).rest()
        assert said == {"result": False, "errors": [{"code": 1, "message": wiro.NO_TASK}]}
    watch = Watch(door, token)
    assert watch.frame()["type"] == "task_queue"
    worker.take_in()
    worker.claim()
    assert post(alice, "/v1/Task/Kill", json={"socketaccesstoken": token})["tasklist"][0]["status"] == "task_cancel"
    heard = watch.rest()
    assert heard[-1]["type"] == "task_cancel"
    assert WIRO.told(alice, made["taskid"]).state is State.CANCELLED


def test_discovery_by_tag_category_and_owner(alice: Caller) -> None:
    def found(**asked: Any) -> list[str]:
        return [tool["slugproject"] for tool in post(alice, "/v1/Tool/List", json=asked)["tool"]]

    project = SLUG.partition("/")[2]
    for asked in (
        {"categories": ["image-to-video"]},
        {"categories": ["audio", "video"]},
        {"tags": ["wan"]},
        {"slugowner": "wan-ai"},
        {"slugowner": "Wan-AI", "search": "i2v", "hideworkflows": True, "summary": True},
    ):
        assert found(**asked) == [project], asked
    for asked in ({"categories": ["audio"]}, {"tags": ["flux"]}, {"slugowner": "google"}, {"search": "nothing"}):
        assert found(**asked) == [], asked


def test_a_generic_client_can_draw_a_form(alice: Caller) -> None:
    tool = post(alice, "/v1/Tool/Detail", json={"slugowner": "Wan-AI", "slugproject": "Wan2.2-I2V-A14B"})["tool"][0]
    items = {item["id"]: item for group in tool["parameters"] for item in group["items"]}
    assert {name for name, item in items.items() if item["required"]} == {"inputImage", "prompt"}
    assert {"fileinput", "textarea", "select", "range", "number"} == {item["type"] for item in items.values()}
    assert all(set(option) == {"label", "value"} for option in items["resolution"]["options"])
    # what the form asks for, Run takes
    body = {"inputImageUrl": PICTURE, "prompt": "x", "resolution": items["resolution"]["options"][0]["value"]}
    given = {name: items[name].get("min", 16) for name in items if items[name]["type"] in ("range", "number")}
    made = post(alice, f"/v1/Run/{SLUG}", json={**body, **given, "numFrames": 17, "shift": 5})
    assert made["taskid"]


def test_explore_shows_what_is_rendered_here(alice: Caller) -> None:
    groups = post(alice, "/v1/Tool/Explore", json={})["explore"]
    assert [(group["id"], [tool["cleanslugproject"] for tool in group["tools"]]) for group in groups] == [
        ("image-to-video", ["wan2-2-i2v-a14b"])
    ]


def test_tasks_tell_the_names_of_their_model(alice: Caller) -> None:
    task = WIRO.made(alice)
    told = post(alice, "/v1/Task/Detail", json={"taskid": task})["tasklist"][0]
    assert f"{told['modelslugowner']}/{told['modelslugproject']}" == SLUG


def test_a_signed_project_lists_models_with_its_key_alone(alice: Caller, parts: Services) -> None:
    who = parts.tenants.api_keys.authenticate(alice.key)
    assert who is not None
    parts.secrets.set("alice", vault.signing(who.key_id), "s3cret")
    for path, status in (("/v1/Tool/List", 200), ("/v1/Tool/Explore", 200), ("/v1/Task/List", 401)):
        answer = alice.client.post(path, json={}, headers={"x-api-key": alice.key})
        assert answer.status_code == status, path
    assert alice.client.post("/v1/Tool/List", json={}, headers={"x-api-key": "x"}).status_code == 401


def test_a_model_that_nobody_renders_is_told_before_what_is_missing(alice: Caller, worker: Worker) -> None:
    for body in ({}, {"prompt": "x"}):
        answer = alice.client.post("/v1/Run/alibaba/wan 2.6", json=body, headers={"x-api-key": alice.key})
        assert answer.json["errors"][0]["message"] == "tool-not-accessible", body
