"""What is made from a clip is as long as the clip: in the job, its prediction and its price, whoever reads the clip."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from bad_servers import Serve, page
from redis import Redis
from submit_parts import Woken, png

from farm.billing.prices import PriceBook
from farm.config import PriceSettings, Settings
from farm.io_worker.take_in import TakeIn
from farm.jobs.draft import Draft, Source
from farm.jobs.errors import InvalidRequest, PaymentRequired
from farm.jobs.job import Job
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger.ledger import INTAKE_POOL, Ledger
from farm.ledger.outcomes import Account, StatementKind
from farm.loras.lora import StoredLora
from farm.loras.loras import TenantLoras
from farm.loras.records import Records
from farm.scheduling.memory_fit import needs_of
from farm.storage.store import Store
from farm.submission.submit import Submissions
from farm.wire import openai
from farm.wire.job_report import report_of
from farm.wire.own_views import view_job
from models.catalog import MODELS
from models.media import clips
from models.planning.plan import Burden

ANIMATE, VACE = "wan2.2-animate-14b-tiny", "wan2.2-vace-fun-a14b-tiny"
NTSC = Fraction(30000, 1001)


def clip(times: int | list[int], rate: Fraction | int = 24, form: str = "mp4") -> bytes:
    """A clip of so many frames, or with frames at these milliseconds."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as box:
        stream: Any = box.add_stream("libx264", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number, ms in enumerate(range(times) if isinstance(times, int) else times):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 9 % 256, np.uint8), format="rgb24")
            if not isinstance(times, int):
                frame.pts, frame.time_base = ms, Fraction(1, 1000)
            box.mux(stream.encode(frame))
        box.mux(stream.encode())
    return out.getvalue()


@dataclass
class House:
    """Submits, and takes in what was left to the io worker."""

    settings: Settings
    ledger: Ledger
    store: Store
    serve: Serve
    submissions: Submissions

    def submit(self, draft: Draft) -> Job:
        (admitted,) = self.submissions.submit("ada", [draft], wait_inputs=False)
        job = self.ledger.find(admitted.id)
        assert job is not None
        return job

    def later(self, draft: Draft) -> Job:
        """The same with its inputs behind addresses, once they were taken in."""
        inputs = {role: Source(url=self.serve(page(one.data or b"")).url()) for role, one in draft.inputs.items()}
        before = self.submit(replace(draft, inputs=inputs))
        assert before.state is State.WAITING
        claim = self.ledger.claim(INTAKE_POOL, "io-1")
        assert claim is not None
        TakeIn(self.settings, self.ledger, self.store, Woken()).run(claim)
        job = self.ledger.find(before.id)
        assert job is not None
        return job


@pytest.fixture
def house(settings: Settings, ledger: Ledger, store: Store, serve: Serve) -> House:
    ledger.worker_seen("w1", "default", WorkerStatus(models=(ANIMATE, VACE)), ttl_s=600)
    home = settings.model_copy(
        update={
            "intake": settings.intake.model_copy(update={"allow_networks": ("127.0.0.0/8",)}),
            # so slow that a prediction tells one length from another
            "scheduling": settings.scheduling.model_copy(update={"assumed_tflops": 1e-4}),
            "lease": settings.lease.model_copy(update={"wall_min_s": 1.0}),
            "prices": PriceSettings(per_second={ANIMATE: {"480p": 10.0}}),
        }
    )
    prices = PriceBook(home.prices)
    return House(home, ledger, store, serve, Submissions(home, ledger, store, Woken(), price=prices.hold))


def follows(video: bytes, **more: Any) -> Draft:
    return Draft("x", model=ANIMATE, inputs={"image": Source(data=png(64, 64)), "video": Source(data=video)}, **more)


def redraws(video: bytes, **more: Any) -> Draft:
    return Draft("x", model=VACE, inputs={"video": Source(data=video)}, **more)


#: frames at these milliseconds, as a phone films
UNEVEN = [0, 40, 80, 280, 320, 700, 733, 801]


@pytest.mark.parametrize(
    ("filmed", "frames", "fps"),
    [
        ((21, NTSC), 21, 29.97),
        ((33, Fraction(24000, 1001), "matroska"), 33, 23.976),
        # read at half its rate
        ((49, 120), 25, 60),
        ((6, 2), 6, 2),
        # as many as there are, whatever rate the container names; two fall on the same tick
        ((UNEVEN, 25, "matroska"), 7, 7.5),
        ((UNEVEN, 25), 7, 7.5),
    ],
)
def test_the_job_says_what_will_be_rendered(
    house: House, tmp_path: Path, filmed: tuple[Any, ...], frames: int, fps: float
) -> None:
    video = clip(*filmed)
    job = house.later(follows(video))
    view = view_job(job)
    assert (job.state, view.frames, view.fps) == (State.QUEUED, frames, pytest.approx(fps, abs=6e-4))
    assert view.duration_s == pytest.approx(frames / fps, abs=2e-3)
    assert (job.spec.length_of, job.spec.picture_area) == (None, None)
    # what the renderer reads, and so makes a frame for each of
    (tmp_path / "clip").write_bytes(video)
    assert sum(1 for _ in clips.read(tmp_path / "clip")) == frames
    assert float(clips.probe(tmp_path / "clip").fps) == pytest.approx(job.spec.fps, rel=1e-6)


def test_what_was_left_out_of_a_clip_is_in_the_job(house: House) -> None:
    torn = (Path(__file__).parents[2] / "data" / "cases" / "03-torn-sound" / "input.mp4").read_bytes()
    for job in (house.submit(follows(torn)), house.later(follows(torn))):
        assert view_job(job).inputs["video"].notes == ["3 damaged pieces of the sound became silence"]
        assert view_job(job).inputs["image"].notes == []


def test_what_waits_for_its_inputs_is_told_as_unknown(house: House, serve: Serve) -> None:
    """The model's own length and size are nobody's: they are nowhere said of a job that will be another."""
    inputs = {"image": png(64, 64), "video": clip(9)}
    there = {role: Source(url=serve(page(data)).url()) for role, data in inputs.items()}
    waiting = house.submit(Draft("x", model=ANIMATE, inputs=there))
    view = view_job(waiting)
    told = (view.width, view.height, view.frames, view.fps, view.duration_s, view.predicted_s)
    assert told == (None,) * 6
    report = report_of(waiting, str)
    assert (report.size, report.seconds) == (None, None)
    video = openai.render_status(report)
    assert (video["size"], video["seconds"]) == (None, None)
    # what was asked for is known at once
    asked = house.submit(Draft("x", model=VACE, width=64, height=32, frames=5, inputs={"video": there["video"]}))
    view = view_job(asked)
    assert (view.width, view.height, view.frames, view.fps, view.duration_s) == (64, 32, 5, 16, 0.312)
    assert view.predicted_s is not None
    assert openai.render_status(report_of(asked, str))["size"] == "64x32"


def test_prediction_wall_time_and_needs_follow_the_clip(house: House, redis: Redis) -> None:
    short, long = (house.later(follows(clip(frames))) for frames in (9, 81))
    # segments of nine frames that share one
    assert long.predicted_s == pytest.approx(10 * short.predicted_s)
    assert long.wall_s == pytest.approx(10 * long.predicted_s)
    assert redis.hget(f"wf:job:{house.later(redraws(clip(24))).id}", "needs") == needs_of(
        Burden(MODELS[VACE], 128, 128, 13)
    )
    at_once = house.submit(follows(clip(81)))
    assert (at_once.predicted_s, at_once.wall_s) == (pytest.approx(long.predicted_s), pytest.approx(long.wall_s))
    claim = house.ledger.claim("default", "w1")
    assert claim is not None
    assert claim.job.predicted_s == short.predicted_s, "what is charged to the tenant's share"


def test_what_is_worn_counts_after_the_clip_is_there(house: House, redis: Redis) -> None:
    heavy = StoredLora("01", "heavy", "0" * 64, 7_000_000, "up", 4, 2, 0, (VACE,), 0)
    Records(redis, house.settings.redis).change("ada", lambda _: {heavy.id: heavy})
    loras = TenantLoras(redis, house.store, house.settings)
    house.submissions = Submissions(house.settings, house.ledger, house.store, Woken(), loras=loras)
    job = house.later(redraws(clip(24), loras=({"lora": "heavy"},)))
    burden = Burden(MODELS[VACE], 128, 128, 13, lora_bytes=(7e6, 7e6))
    assert redis.hget(f"wf:job:{job.id}", "needs") == needs_of(burden) != needs_of(replace(burden, lora_bytes=()))


def test_ready_made_poses_decide_the_length_and_the_clip_the_rate(house: House) -> None:
    draft = follows(clip(40, 20))
    guides = {role: Source(data=clip(frames, 10)) for role, frames in (("pose_video", 12), ("face_video", 12))}
    for submit in (house.submit, house.later):
        job = submit(replace(draft, inputs={**draft.inputs, **guides}))
        assert (job.spec.frames, job.spec.fps) == (24, 20)


@pytest.mark.parametrize("field", ["frames", "seconds", "fps"])
def test_a_length_of_ones_own_is_refused_where_the_clip_decides(house: House, field: str) -> None:
    with pytest.raises(InvalidRequest, match="takes its length and its rate from the video") as refused:
        house.submit(follows(clip(9), **{field: 5}))
    assert refused.value.field == field


def test_a_clip_of_the_wrong_length_is_named(house: House) -> None:
    long, one, second, moment = (clip(frames) for frames in (482, 1, 24, 4))
    cases = [
        (follows(long), r"the clip has 482 frames \(20.08 s at 24 fps\); .* at most 481 \(20.04 s\). Cut it"),
        (follows(one), "one frame, and so no motion"),
        (redraws(moment), r"the clip has 3 frames \(0.1875 s\) at 16 fps; .* renders 5 at the least"),
        (redraws(second, frames=33), "has 16 frames .* and 33 are asked for; ask for 13, or send a longer one"),
        (redraws(second, fps=24, seconds=1.4), "has 24 frames .* at 24 fps and 33 are asked for; ask for 21"),
    ]
    for draft, says in cases:
        with pytest.raises(InvalidRequest, match=says) as refused:
            house.submit(replace(draft, field_names={"video": "input.video_url"}))
        assert refused.value.field == "input.video_url"
    for draft, says in (cases[0], cases[3]):
        job = house.later(draft)
        assert (job.state, job.error_code) == (State.FAILED, "invalid_input")
        assert re.match(f"video: .*{says}", job.error_message or "")


@pytest.mark.parametrize(
    ("filmed", "more", "frames"),
    [
        # 24 fps are read at 16
        ((24,), {}, 13),
        ((16,), {"fps": 24}, 13),
        ((120, 120), {}, 13),
        ((60,), {}, MODELS[VACE].defaults.frames),
        ((60,), {"frames": 33}, 33),
    ],
)
def test_what_is_redrawn_is_no_longer_than_its_clip(
    house: House, tmp_path: Path, filmed: tuple[Any, ...], more: dict[str, Any], frames: int
) -> None:
    job = house.later(redraws(clip(*filmed), **more))
    assert (job.state, job.spec.frames, job.spec.fps) == (State.QUEUED, frames, more.get("fps", 16))
    (tmp_path / "clip").write_bytes(clip(*filmed))
    assert sum(1 for _ in clips.read(tmp_path / "clip", job.spec.fps)) >= frames


def test_a_mask_that_is_shorter_counts(house: House) -> None:
    draft = redraws(clip(60))
    masked = replace(draft, inputs={**draft.inputs, "mask_video": Source(data=clip(20))})
    assert house.submit(masked).spec.frames == 13


class TestCredit:
    """A second costs ten credits. While the length is not known, five seconds are held."""

    @pytest.fixture(autouse=True)
    def account(self, ledger: Ledger) -> Callable[[], Account]:
        ledger.topup("ada", 100_000_000)

        def account() -> Account:
            found = ledger.credit("ada")
            assert found is not None
            return found

        return account

    @pytest.mark.parametrize(("frames", "price"), [(24, 10_000_000), (121, 50_416_667)])
    def test_what_is_held_becomes_the_price(
        self, house: House, ledger: Ledger, account: Callable[[], Account], frames: int, price: int
    ) -> None:
        job = house.later(follows(clip(frames)))
        assert job.hold == account().held == price
        first, second = ledger.statement("ada")[1:]
        assert (first.kind, first.amount) == (StatementKind.HOLD, 50_000_000)
        less = price < 50_000_000
        assert second.kind == (StatementKind.RELEASE if less else StatementKind.HOLD)
        assert (second.amount, second.held) == (abs(50_000_000 - price), price)
        assert ledger.audit(None, 100).drift == {}
        ledger.cancel("ada", job.id)
        assert account() == Account(100_000_000, 0)

    def test_what_the_account_does_not_cover_fails_clearly(
        self, house: House, ledger: Ledger, account: Callable[[], Account]
    ) -> None:
        other = house.submit(follows(clip(24)))
        ledger.topup("ada", -39_600_000)
        # ten are held by the other job, fifty for this one, and 0.4 are free
        job = house.later(follows(clip(121)))
        assert (job.state, job.error_code) == (State.FAILED, "insufficient_credit")
        assert "50.416667 credits are needed" in (job.error_message or "")
        assert "0.4 are free besides the 50 held" in (job.error_message or "")
        assert account() == Account(60_400_000, other.hold or 0)
        with pytest.raises(PaymentRequired):
            house.submit(follows(clip(121), name="one that is read at once"))

    def test_what_is_short_of_its_guess_can_be_admitted_when_it_is_read_at_once(
        self, house: House, ledger: Ledger, account: Callable[[], Account]
    ) -> None:
        ledger.topup("ada", -85_000_000)
        assert house.submit(follows(clip(24))).hold == 10_000_000
        assert account().available == 5_000_000
