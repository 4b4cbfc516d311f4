import base64
import hashlib
import time
from dataclasses import replace

import pytest
from redis import Redis
from submit_parts import MODEL, T2V, Woken, pixels, png

from farm.config import ModelDefaults, Settings
from farm.jobs.draft import Draft, Source
from farm.jobs.errors import (
    AddressRefused,
    Conflict,
    InvalidRequest,
    ModelUnavailable,
    PaymentRequired,
    RequestError,
    TooLarge,
    TooMany,
    Unavailable,
)
from farm.jobs.job import Job
from farm.jobs.states import State
from farm.ledger.ledger import Ledger
from farm.storage.object_keys import input_key, upload_key
from farm.storage.store import Store
from farm.submission.submit import Submissions
from models.catalog import MAX_PROMPT_CHARS, MAX_SEED


def submitted(submissions: Submissions, ledger: Ledger, draft: Draft, *, wait_inputs: bool = True) -> Job:
    (admitted,) = submissions.submit("ada", [draft], wait_inputs=wait_inputs)
    job = ledger.get("ada", admitted.id)
    assert job is not None
    return job


def test_a_prompt_alone_becomes_a_whole_job(submissions: Submissions, ledger: Ledger, woken: Woken) -> None:
    job = submitted(submissions, ledger, Draft("a lighthouse at dawn", model=T2V))
    assert (job.state, job.pool, job.lane, job.priority) == (State.QUEUED, "default", f"{T2V}@fp32", 5)
    spec = job.spec
    assert (spec.task, spec.width, spec.height, spec.frames, spec.fps, spec.steps) == ("t2v", 128, 128, 17, 16, 12)
    assert (spec.guidance, spec.guidance_2, spec.shift, spec.negative_prompt) == (2.0, 2.0, 5.0, "")
    assert 0 <= spec.seed < 2**32
    assert job.predicted_s >= 1
    assert job.wall_s >= 1800
    assert job.max_attempts == 3
    assert [permit.pool for permit in woken.permits] == ["default"]


def test_what_was_asked_is_what_is_kept(submissions: Submissions, ledger: Ledger) -> None:
    deadline = int(time.time() * 1000) + 3_600_000
    asked = Draft(
        "a  prompt with its own spaces ",
        model=T2V,
        negative_prompt="blurry",
        width=256,
        height=144,
        frames=9,
        fps=24,
        steps=2,
        guidance=2.0,
        guidance_2=2.5,
        shift=3.0,
        seed=MAX_SEED,
        priority=9,
        deadline_ms=deadline,
        max_attempts=1,
        name="shot 7",
        metadata={"scene": "é"},
        label="reel",
        dialect="kie",
        dialect_data={"request": {"model": "x"}},
    )
    job = submitted(submissions, ledger, asked)
    spec = job.spec
    assert (spec.prompt, spec.negative_prompt, spec.seed) == (asked.prompt, "blurry", MAX_SEED)
    assert (spec.width, spec.height, spec.frames, spec.fps, spec.steps) == (256, 144, 9, 24, 2)
    assert (spec.guidance, spec.guidance_2, spec.shift) == (2.0, 2.5, 3.0)
    assert (job.priority, job.deadline_ms, job.max_attempts, job.name) == (9, deadline, 1, "shot 7")
    assert (job.metadata, job.label, job.dialect) == ({"scene": "é"}, "reel", "kie")
    assert job.dialect_data == {"request": {"model": "x"}}


def test_two_jobs_without_a_seed_differ(submissions: Submissions, ledger: Ledger) -> None:
    admitted = submissions.submit("ada", [Draft("x", model=T2V)] * 2, wait_inputs=True)
    first, second = (ledger.get("ada", one.id) for one in admitted)
    assert first is not None
    assert second is not None
    assert first.spec.seed != second.spec.seed
    assert [one.id for one in admitted] == sorted(one.id for one in admitted)


@pytest.mark.parametrize(
    ("field", "changes", "says"),
    [
        ("prompt", {"prompt": None}, "required"),
        ("prompt", {"prompt": " \n"}, "empty"),
        ("prompt", {"prompt": "x" * (MAX_PROMPT_CHARS + 1)}, "5000 are allowed"),
        ("prompt", {"prompt": "half \ud83d"}, "half a character"),
        ("negative_prompt", {"negative_prompt": "x" * 5001}, "allowed"),
        ("model", {"model": "wan9"}, "unknown model 'wan9'; choose one of"),
        ("model", {"model": "wan2.2-t2v-a14b"}, "not rendered here; choose one of"),
        ("task", {"task": "vace"}, "not 'vace'"),
        ("image", {"task": "i2v", "model": MODEL}, "needs image"),
        ("image", {"inputs": {"image": Source(data=b"x")}}, "takes no image"),
        ("image", {"inputs": {"image": Source(data=b"x")}, "task": "t2v", "model": MODEL}, "takes no image"),
        ("frames", {"frames": 80}, "nearest: 77 or 81"),
        ("frames", {"frames": 1}, "between 5 and 481"),
        ("frames", {"frames": 1025}, "between"),
        ("frames", {"frames": 17.0}, "whole number"),
        ("frames", {"frames": True}, "whole number"),
        ("seconds", {"seconds": 100.0}, "not between 0 and"),
        ("seconds", {"seconds": -1.0}, "not between 0 and"),
        ("seconds", {"seconds": 1.0, "frames": 17}, "not both"),
        ("width", {"width": 101}, "nearest: 100 or 102"),
        ("width", {"width": 4096}, "between"),
        ("height", {"height": 0}, "between"),
        ("resolution", {"resolution": "8k"}, "none of 480p, 580p, 720p"),
        ("resolution", {"resolution": "480p", "width": 128}, "not both"),
        ("aspect", {"aspect": 1.5, "height": 128}, "not both"),
        ("aspect", {"aspect": 100.0}, "not between"),
        ("aspect", {"aspect": 19.0}, "makes a clip of"),
        ("fps", {"fps": 1000}, "between"),
        ("steps", {"steps": 0}, "between"),
        ("guidance", {"guidance": float("nan")}, "must be a number"),
        ("guidance", {"guidance": 21.0}, "between"),
        ("shift", {"shift": "3"}, "must be a number"),
        ("seed", {"seed": -1}, "between"),
        ("seed", {"seed": MAX_SEED + 1}, "between"),
        ("seed", {"seed": "7"}, "whole number"),
        ("priority", {"priority": 10}, "between 0 and 9"),
        ("max_attempts", {"max_attempts": 0}, "between 1 and 10"),
        ("deadline_ms", {"deadline_ms": 1}, "past"),
        ("name", {"name": "x" * 201}, "200 are allowed"),
        ("label", {"label": "x" * 101}, "allowed"),
        ("metadata", {"metadata": {"a": 1}}, "strings"),
        ("metadata", {"metadata": {str(n): "" for n in range(17)}}, "16 entries"),
        ("metadata", {"metadata": {"a": "x" * 513}}, "allowed"),
        ("loras", {"loras": ({"lora": "x"},) * 5}, "at most 4"),
        ("options.turbo", {"options": {"turbo": True}}, "the options are lossy"),
        ("webhook_url", {"webhook_url": "http://127.0.0.1/hook"}, "not public"),
        ("webhook_url", {"webhook_url": "ftp://example.com/hook"}, "http"),
        ("idempotency_key", {"idempotency_key": "k" * 256}, "allowed"),
    ],
)
def test_a_bad_draft_is_refused_by_name_and_leaves_nothing(
    submissions: Submissions, redis: Redis, field: str, changes: dict[str, object], says: str
) -> None:
    draft = replace(Draft("a prompt", model=T2V), **changes)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest) as raised:
        submissions.submit("ada", [draft], wait_inputs=True)
    assert raised.value.field == field
    assert says in raised.value.detail
    assert list(redis.scan_iter("wf:job:*")) == []
    # an asker with words of their own reads those
    with pytest.raises(InvalidRequest) as raised:
        submissions.submit("ada", [replace(draft, field_names={field: "theirs"})], wait_inputs=True)
    assert raised.value.field == "theirs"


def test_one_bad_draft_among_many_refuses_all_and_says_which(submissions: Submissions, redis: Redis) -> None:
    drafts = [Draft("a", model=T2V), Draft("", model=T2V), Draft("c", model=T2V)]
    with pytest.raises(InvalidRequest) as raised:
        submissions.submit("ada", drafts, wait_inputs=True)
    assert raised.value.field == "jobs.1.prompt"
    assert list(redis.scan_iter("wf:job:*")) == []
    with pytest.raises(InvalidRequest, match="no job"):
        submissions.submit("ada", [], wait_inputs=True)


def test_seconds_become_the_nearest_frames(submissions: Submissions, ledger: Ledger) -> None:
    for seconds, fps, frames in ((5.0, None, 81), (1.0, 24, 25), (0.1, None, 5), (2, 10, 21)):
        job = submitted(submissions, ledger, Draft("x", model=T2V, seconds=seconds, fps=fps))
        assert job.spec.frames == frames


def test_resolution_and_aspect_become_sides(submissions: Submissions, ledger: Ledger) -> None:
    for resolution, aspect, size in (
        ("480p", None, (624, 624)),
        ("480P", 16 / 9, (832, 480)),
        ("720p", 9 / 16, (720, 1280)),
        (None, 2.0, (176, 80)),
    ):
        job = submitted(submissions, ledger, Draft("x", model=T2V, resolution=resolution, aspect=aspect))
        assert (job.spec.width, job.spec.height) == size


def test_the_default_model_is_the_first_that_does_it(
    submissions: Submissions, ledger: Ledger, settings: Settings, store: Store, woken: Woken
) -> None:
    assert submitted(submissions, ledger, Draft("x")).spec.model == T2V
    pictured = Draft("x", inputs={"image": Source(data=png(64, 64))})
    assert submitted(submissions, ledger, pictured).spec.model == "wan2.2-i2v-a14b-tiny"
    chosen = settings.model_copy(update={"default_models": ModelDefaults(t2v=MODEL, i2v="gone")})
    choosy = Submissions(chosen, ledger, store, woken)
    assert submitted(choosy, ledger, Draft("x")).spec.model == MODEL
    with pytest.raises(ModelUnavailable, match="gone"):
        choosy.submit("ada", [pictured], wait_inputs=True)
    with pytest.raises(InvalidRequest, match="no model here does i2v with audio, image"):
        submissions.submit(
            "ada", [Draft("x", inputs={"audio": Source(data=b"x"), "image": Source(data=b"x")})], wait_inputs=True
        )


def test_a_repeated_request_is_the_first_job_whatever_became_of_its_input(
    submissions: Submissions, ledger: Ledger, store: Store
) -> None:
    store.put_bytes(upload_key("ada", "u1"), png(64, 64), "")
    draft = Draft("x", model=MODEL, inputs={"image": Source(upload="u1")}, idempotency_key="k")
    first = submissions.submit("ada", [draft], wait_inputs=True)
    assert first[0].created
    store.delete(upload_key("ada", "u1"))
    again = submissions.submit("ada", [draft], wait_inputs=True)
    assert (again[0].id, again[0].created) == (first[0].id, False)
    for other in (replace(draft, prompt="y"), replace(draft, inputs={"image": Source(upload="u2")})):
        with pytest.raises(Conflict) as raised:
            submissions.submit("ada", [other], wait_inputs=True)
        assert raised.value.field == "idempotency_key"
    # another tenant's key is another key
    store.put_bytes(upload_key("bob", "u1"), png(64, 64), "")
    assert submissions.submit("bob", [draft], wait_inputs=True)[0].created


def test_limits_of_the_ledger_come_through(submissions: Submissions, redis: Redis) -> None:
    redis.hset("wf:tenant:ada", "max_open", 1)
    with pytest.raises(TooMany):
        submissions.submit("ada", [Draft("x", model=T2V)] * 2, wait_inputs=True)


def test_a_price_is_held_on_admission(settings: Settings, ledger: Ledger, store: Store, woken: Woken) -> None:
    ledger.topup("ada", 1000, reference="first")
    priced = Submissions(settings, ledger, store, woken, price=lambda job: 40 * job.spec.steps)
    assert submitted(priced, ledger, Draft("x", model=T2V, steps=5)).hold == 200
    with pytest.raises(PaymentRequired):
        priced.submit("ada", [Draft("x", model=T2V, steps=21)], wait_inputs=True)


def test_without_any_worker_the_farm_says_so(settings: Settings, redis: Redis, store: Store, woken: Woken) -> None:
    empty = Submissions(settings, Ledger(redis, settings), store, woken)
    with pytest.raises(Unavailable, match="no worker"):
        empty.submit("ada", [Draft("x", model=T2V)], wait_inputs=True)
    with pytest.raises(Unavailable, match="no worker"):
        empty.submit("ada", [Draft("x")], wait_inputs=True)


def test_webhooks_may_go_where_the_operator_allows(
    settings: Settings, ledger: Ledger, store: Store, woken: Woken
) -> None:
    allowed = settings.intake.model_copy(update={"allow_networks": ("127.0.0.0/8",)})
    home = Submissions(settings.model_copy(update={"intake": allowed}), ledger, store, woken)
    draft = Draft("x", model=T2V, webhook_url="http://127.0.0.1:9000/hook")
    assert submitted(home, ledger, draft).webhook_url == draft.webhook_url
    with pytest.raises(AddressRefused):
        home.submit("ada", [replace(draft, webhook_url="http://10.0.0.1/hook")], wait_inputs=True)


def test_pictures_come_as_text_as_bytes_and_as_uploads(submissions: Submissions, ledger: Ledger, store: Store) -> None:
    picture = png(96, 64)
    text = base64.b64encode(picture).decode()
    wrapped = "\n".join(text[n : n + 76] for n in range(0, len(text), 76))
    store.put_bytes(upload_key("ada", "u-1"), picture, "text/html")
    for source in (
        Source(base64=text),
        Source(base64=f"data:image/png;base64,{text}"),
        Source(base64=f"  data:IMAGE/PNG;charset=utf-8;BASE64,{wrapped}\r\n"),
        Source(data=picture),
        Source(upload="u-1"),
    ):
        job = submitted(submissions, ledger, Draft("x", model=MODEL, inputs={"image": source}))
        ref = job.spec.inputs["image"]
        assert (job.state, job.spec.task) == (State.QUEUED, "i2v")
        assert (ref.width, ref.height, ref.content_type) == (96, 64, "image/png")
        assert ref.key == input_key("ada", ref.kept_sha256 or "")
        assert ref.sha256 == hashlib.sha256(picture).hexdigest()
        assert pixels(store.get_bytes(ref.key, limit=100_000)) == pixels(picture)
        # 256 x 256 pixels at 3:2, in steps of 32
        assert (job.spec.width, job.spec.height) == (320, 192)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (Source(base64="not base64!"), "not base64"),
        (Source(base64="QUJD="), "not base64"),
        (Source(base64="data:image/png,QUJD"), "data:image/png;base64"),
        (Source(base64=""), "empty"),
        (Source(base64=base64.b64encode(b"hello, world").decode()), "text file"),
        (Source(data=png(96, 64)[:-400]), "broken or cut off"),
        (Source(upload="never"), "no such upload"),
        (Source(upload="../bob/u"), "no such upload"),
        (Source(upload="bobs"), "no such upload"),
        (Source(), "exactly one"),
        (Source(url="http://x", data=b"x"), "exactly one"),
        (Source(url="file:///etc/passwd"), "http"),
        (Source(url="http://169.254.169.254/"), "not public"),
        (Source(data=png(3200, 100)), "crop it"),
    ],
)
def test_bad_pictures_are_refused_and_nothing_is_stored(
    submissions: Submissions, redis: Redis, store: Store, source: Source, says: str
) -> None:
    store.put_bytes(upload_key("bob", "bobs"), png(64, 64), "")
    draft = Draft("x", model=MODEL, inputs={"image": source}, field_names={"image": "image_base64"})
    for wait_inputs in (True, False):
        with pytest.raises(RequestError) as raised:
            submissions.submit("eve", [draft], wait_inputs=wait_inputs)
        assert raised.value.field == "image_base64"
        assert says in raised.value.detail
    assert list(redis.scan_iter("wf:job:*")) == []
    assert store.delete_prefix("inputs/eve/") == 0


def test_too_many_bytes_are_too_large(submissions: Submissions, settings: Settings) -> None:
    limit = settings.intake.max_image_bytes
    for source in (
        Source(data=bytes(limit + 1)),
        Source(base64="A" * (limit * 4 // 3 + 8)),
        Source(base64="A" + "\n" * limit * 3),
    ):
        with pytest.raises(TooLarge) as raised:
            submissions.submit("ada", [Draft("x", model=MODEL, inputs={"image": source})], wait_inputs=True)
        assert raised.value.field == "image"


def test_options_are_checked_against_the_settled_job_and_kept(submissions: Submissions, ledger: Ledger) -> None:
    job = submitted(submissions, ledger, Draft("x", model=T2V, steps=8, options={"lossy": "mag"}))
    assert job.spec.options == {"lossy": "mag"}
    with pytest.raises(InvalidRequest, match="at least 8") as raised:
        submissions.submit("ada", [Draft("x", model=T2V, steps=4, options={"lossy": "mag"})], wait_inputs=True)
    assert raised.value.field == "options.lossy"
