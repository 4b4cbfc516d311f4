"""Lists in every dialect that has one: walked while they change, longer than a thousand, from either end."""

from collections.abc import Callable
from typing import Any

import pytest
from dialect_parts import ANIMATE, I2V, OPENAI, SELFHOSTED, T2V, WIRO, Worker

from api.services import Services
from farm.jobs.ids import new_job_id
from farm.jobs.job import NewJob
from farm.wire import task_ids
from tests.api.api_parts import TINY, Caller

MANY = 1010


@pytest.fixture
def alice(caller: Callable[..., Caller], worker: Worker) -> Caller:
    worker.offer(T2V, I2V, ANIMATE, TINY)
    return caller("alice")


def many(parts: Services, alice: Caller, dialect: str, path: str, body: dict[str, Any]) -> list[str]:
    """MANY jobs as one that came in the dialect, oldest first."""
    assert alice.post(path, json=body, headers={"x-api-key": alice.key}).status_code == 200
    first = parts.ledger.page("alice").jobs[0]
    ids = [first.id]
    for _ in range(10):
        made = [
            NewJob(
                id=new_job_id(), tenant="alice", spec=first.spec, pool=first.pool, lane=first.lane, predicted_s=1.0,
                wall_s=60.0, dialect=dialect, dialect_data=first.dialect_data,
            )
            for _ in range((MANY - 1) // 10 if len(ids) < MANY - 109 else MANY - len(ids))
        ]  # fmt: skip
        parts.ledger.admit(made)
        ids += [job.id for job in made]
    assert len(ids) == MANY
    return [task_ids.task_id(dialect, one) for one in ids]


def test_deleting_page_by_page_finds_every_video(alice: Caller) -> None:
    for number in range(5):
        alice.post("/v1/videos", json={"prompt": f"old {number}", "model": TINY})
    after, seen, more = "", 0, True
    while more:
        answer = alice.get(f"/v1/videos?limit=2{after}")
        assert answer.status_code == 200, answer.text
        for video in answer.json["data"]:
            assert alice.delete(f"/v1/videos/{video['id']}").status_code == 200
            seen += 1
        after, more = f"&after={answer.json['last_id']}", answer.json["has_more"]
    assert seen == 5
    assert alice.get("/v1/videos").json["data"] == []
    refused = alice.get("/v1/videos?after=video_1")
    assert (refused.status_code, refused.json["error"]["param"]) == (400, "after")


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_openai_lists_more_than_a_thousand_from_either_end(parts: Services, alice: Caller, order: str) -> None:
    made = many(parts, alice, "openai", OPENAI.path, {"prompt": "x", "model": TINY})
    alice.submit("of the farm's own API")
    seen: list[str] = []
    after, more = "", True
    while more:
        page = alice.get(f"/v1/videos?limit=100&order={order}{after}").json
        seen += [video["id"] for video in page["data"]]
        after, more = f"&after={page['last_id']}", page["has_more"]
    assert seen == (made if order == "asc" else made[::-1])


def test_wiro_lists_more_than_a_thousand_from_either_end(parts: Services, alice: Caller) -> None:
    made = many(parts, alice, "wiro", WIRO.path, dict(WIRO.body))

    def ids(**asked: str) -> list[str]:
        told = alice.post("/v1/Task/List", json=asked, headers={"x-api-key": alice.key}).json
        assert told["total"] == str(MANY)
        return [task["id"] for task in told["tasklist"]]

    assert ids(order="ASC", start="0", limit="3") == made[:3]
    assert ids(order="ASC", start=str(MANY - 2), limit="100") == made[-2:]
    assert ids(start=str(MANY - 2), limit="100") == made[1::-1]
    assert ids(start=str(MANY)) == []
    assert ids(order="ASC", start="1005", limit="3", modelName="wan2.2") == made[1005:1008]


def test_the_selfhosted_list_is_whole(parts: Services, alice: Caller) -> None:
    made = many(parts, alice, "selfhosted", SELFHOSTED.path, {"prompt": "x"})
    listed = alice.get("/jobs?limit=5000").json
    assert len(listed) == len(made)
