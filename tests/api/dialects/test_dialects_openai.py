"""The unmodified openai SDK against the gateway."""

from collections.abc import Callable, Iterator
from threading import Thread

import httpx
import openai
import pytest
from dialect_parts import Worker

from farm.wire import task_ids
from tests.api.api_parts import VIDEO, Caller, picture
from tests.conftest import wait_until

Make = Callable[..., Caller]


@pytest.fixture
def alice(caller: Make, worker: Worker) -> Caller:
    return caller("alice")


@pytest.fixture
def sdk(door: str, alice: Caller) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{door}/v1", api_key=alice.key, max_retries=0) as client:
        yield client


def test_create_poll_and_download(sdk: openai.OpenAI, worker: Worker) -> None:
    def render() -> None:
        wait_until(lambda: worker.ledger.counts("alice")["queued"], what="the video to be queued")
        worker.render()

    hand = Thread(target=render)
    hand.start()
    video = sdk.videos.create_and_poll(prompt="a fox in snow", model="sora-2", size="1280x720", poll_interval_ms=50)
    hand.join()
    assert (video.status, video.progress, video.object, video.prompt) == ("completed", 100, "video", "a fox in snow")
    assert video.completed_at is not None
    assert video.completed_at >= video.created_at
    assert sdk.videos.download_content(video.id).read() == VIDEO
    assert sdk.videos.download_content(video.id, variant="thumbnail").read() == VIDEO
    part = sdk.videos.download_content(video.id, extra_headers={"Range": "bytes=5-9"})
    assert (part.response.status_code, part.read()) == (206, VIDEO[5:10])
    assert part.response.headers["content-range"] == f"bytes 5-9/{len(VIDEO)}"
    tail = sdk.videos.download_content(video.id, extra_headers={"Range": "bytes=-4"})
    assert tail.read() == VIDEO[-4:]
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.videos.download_content(video.id, extra_headers={"Range": "bytes=99999-"})
    assert caught.value.status_code == 416


def test_a_picture_as_a_file_or_as_an_address(sdk: openai.OpenAI, alice: Caller, worker: Worker, files: str) -> None:
    by_file = sdk.videos.create(prompt="wave", input_reference=("fox.png", picture(), "image/png"), seconds="4")
    # the SDK has a type for this, and refuses to send it
    asked = {"prompt": "wave", "input_reference": {"image_url": f"{files}/character.png"}}
    by_address = alice.post("/v1/videos", json=asked).json
    jobs = {job.dialect_data["request"].get("seconds"): job for job in worker.ledger.page("alice").jobs}
    assert {job.spec.task for job in jobs.values()} == {"i2v"}
    assert jobs["4"].spec.inputs["image"].stored
    assert not jobs[None].spec.inputs["image"].stored, "an address is fetched by intake"
    assert {by_file.status, by_address["status"]} == {"queued"}
    assert (jobs["4"].spec.frames - 1) % 4 == 0


def test_list_with_cursor_and_delete(sdk: openai.OpenAI, worker: Worker, alice: Caller, caller: Make) -> None:
    made = [sdk.videos.create(prompt=f"fox {n}").id for n in range(5)]
    page = sdk.videos.list(limit=2)
    assert ([v.id for v in page.data], page.has_more) == (made[:2:-1], True)
    assert [v.id for v in sdk.videos.list(limit=2)] == made[::-1], "the SDK walks all pages"
    assert [v.id for v in sdk.videos.list(order="asc", limit=3).data] == made[:3]
    gone = sdk.videos.delete(made[0])
    assert (gone.id, gone.deleted, gone.object) == (made[0], True, "video.deleted")
    with pytest.raises(openai.NotFoundError):
        sdk.videos.retrieve(made[0])
    with pytest.raises(openai.NotFoundError):
        sdk.videos.delete(made[0])
    assert [v.id for v in sdk.videos.list(limit=100).data] == made[:0:-1]
    worker.render()
    done = next(v for v in sdk.videos.list().data if v.status == "completed")
    prefix = f"results/alice/{task_ids.job_id('openai', done.id)}/"
    assert worker.store.list(prefix)
    sdk.videos.delete(done.id)
    assert worker.store.list(prefix) == [], "its files go with it"
    other = caller("bob")
    assert other.get(f"/v1/videos/{made[1]}").status_code == 404
    assert other.get("/v1/videos").json["data"] == []


def test_errors_are_the_sdks_own(sdk: openai.OpenAI, worker: Worker, door: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.videos.create(prompt="", model="sora-2")
    assert caught.value.param == "prompt"
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.videos.create(prompt="a fox", model="wan9")
    assert caught.value.code == "model_not_found"
    video = sdk.videos.create(prompt="a fox")
    with pytest.raises(openai.NotFoundError):
        sdk.videos.download_content(video.id)
    worker.spoil()
    failed = sdk.videos.retrieve(video.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.code == "invalid_input"
    with pytest.raises(openai.AuthenticationError):
        sdk.with_options(api_key="wrong").videos.retrieve(video.id)
    assert httpx.put(f"{door}/v1/videos", headers={"Authorization": f"Bearer {sdk.api_key}"}).json()["error"]["message"]
