"""The console in a real Chromium, on a farm that renders with the real pipelines: what people do, as they see it."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from harness import SMALL, Farm
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, expect, sync_playwright

from farm.client import Client
from farm.embedded import samples
from farm.jobs.ids import new_job_id
from farm.jobs.job import Claim, NewJob
from farm.jobs.roles import Role
from farm.jobs.spec import JobSpec
from farm.jobs.states import HoldReason, State
from farm.jobs.worker_status import WorkerState, WorkerStatus
from farm.ledger import SwitchKind
from farm.tenants.tenants import Tenants
from models.catalog import MODELS
from models.media.output import write_video

pytestmark = pytest.mark.xdist_group("e2e-real")

#: renders take seconds; a busy machine takes longer
PATIENCE_MS = 60_000
#: what Playwright 1.65 switches off, since a second list takes the place of the first, and beside it two pages of the
#: address bar's that each context loads before anybody types there: half of what a context costs
SWITCHED_OFF = (
    "AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect", "TcpPortRandomizationWin", "OptimizationHints",
    "NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch", "msForceBrowserSignIn",
    "WebUIOmniboxPopup", "WebUIOmniboxAimPopup",
)  # fmt: skip
I2V, VACE = "wan2.2-i2v-a14b-tiny", "wan2.2-vace-fun-a14b-tiny"
EVIL = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
PAGES = (
    "jobs",
    "jobs?view=tiles",
    "batches",
    "submit",
    "usage",
    "activity",
    "farm/workers",
    "farm/queue",
    "farm/lanes",
)
#: what a person prefers, and how wide the window is
LOOKS: tuple[tuple[Literal["dark", "light"], int], ...] = (("dark", 1280), ("light", 390))
MORE_PAGES = ("farm/tenants", "farm/providers", "farm/log")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium (Debian: apt-get install chromium)")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", f"--disable-features={','.join(SWITCHED_OFF)}"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def farm(real_farm: Farm) -> Farm:
    return real_farm


def signed_in(browser: Browser, farm: Farm, key: str, **looks: object) -> tuple[BrowserContext, Page]:
    context = browser.new_context(base_url=farm.notes["url"], **looks)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    return context, page


@pytest.fixture
def page(chromium: Browser, farm: Farm) -> Iterator[Page]:
    """Signed in as a member of the studio; every request stays on the farm, and no script fails or asks anything."""
    context, page = signed_in(chromium, farm, farm.notes["key"])
    asked, troubles = set[str](), list[str]()
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.on("pageerror", lambda error: troubles.append(str(error)))

    def complained(message: ConsoleMessage) -> None:
        # a refused address is what a test asks for; a broken policy is not
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            troubles.append(message.text)

    def asked_in_a_dialog(dialog: Dialog) -> None:
        troubles.append(f"dialog {dialog.message}")
        dialog.dismiss()

    page.on("console", complained)
    page.on("dialog", asked_in_a_dialog)
    yield page
    context.close()
    assert asked <= {
        urlsplit(farm.notes["url"]).netloc,
        farm.settings.s3.public_endpoint or farm.settings.s3.endpoint,
        "",
    }
    assert troubles == []


def admitted(
    farm: Farm,
    count: int,
    label: str,
    *,
    tenant: str | None = None,
    pool: str = "default",
    approved: bool = False,
    hold: int | None = None,
) -> list[str]:
    """Ids of jobs that wait for approval, as a client's batch would, or for a worker of the pool. hold: micro-credits
    of each."""
    model = MODELS[str(SMALL["model"])]
    spec = JobSpec(
        **SMALL,
        task="t2v",
        prompt="one of many",
        negative_prompt="",
        guidance=4.0,
        guidance_2=3.0,
        shift=12.0,
        seed=7,
    )
    job = NewJob(
        id="",
        tenant=tenant or farm.notes["tenant"],
        spec=spec,
        pool=pool,
        lane=model.lane,
        predicted_s=3.0,
        wall_s=60.0,
        label=label,
        hold=hold,
        held_for=() if approved else (HoldReason.APPROVAL,),
    )
    made: list[str] = []
    for at in range(0, count, 200):
        jobs = [replace(job, id=new_job_id(), name=f"shot {at + n}") for n in range(min(200, count - at))]
        farm.ledger().admit(jobs)
        made += [one.id for one in jobs]
    return made


def dropped(page: Page, role: str, file: Path) -> None:
    """A file that is dragged in from outside and let go over the field, as the browser itself is told of it."""
    place = page.locator(f".drop[data-role={role}]")
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    assert box is not None
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    devtools = page.context.new_cdp_session(page)
    for what in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        devtools.send("Input.dispatchDragEvent", {"type": what, **at, "data": data})
        if what == "dragOver":
            expect(place).to_have_class(re.compile(r"\bover\b"))
    devtools.detach()


def test_a_picture_becomes_a_video_that_plays(page: Page, tmp_path: Path) -> None:
    # its name is text, too
    lake = tmp_path / 'lake"><img src=x onerror=alert(1)>.jpg'
    lake.write_bytes(samples.picture())
    page.get_by_role("link", name="New job").click()
    page.get_by_label("Prompt", exact=True).fill("a gentle wind moves the reeds")
    page.get_by_label("Model").select_option(I2V)
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    dropped(page, "image", lake)
    expect(page.locator(".drop[data-role=image] small")).to_contain_text(lake.name)
    page.get_by_label("Name").fill("lake breathes")
    page.locator("summary").click()
    page.get_by_label("Steps").fill("900")
    expect(page.locator("#e-steps")).not_to_be_empty()
    page.get_by_label("Steps").fill("2")
    expect(page.locator("#e-steps")).to_be_empty()
    expect(page.locator("[data-say=cost]")).to_have_text("not charged")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="lake breathes")).to_be_visible()
    video = page.locator("#video")
    expect(video).to_be_visible()
    played = """async video => { video.muted = true; await video.play();
        await new Promise(done => video.requestVideoFrameCallback(done));
        return [video.readyState, video.videoWidth] }"""
    ready, wide = video.evaluate(played)
    assert ready >= 2
    assert wide > 0
    expect(page.locator("#log")).to_contain_text("done")


def test_a_dropped_clip_is_priced_and_what_is_wrong_is_said_before_it_is_sent(
    chromium: Browser, farm: Farm, tmp_path: Path
) -> None:
    """On a studio that pays. The clip is taken in and checked; its render is others' business."""
    tenants = Tenants(farm.redis(), farm.settings)
    tenants.create("payer")
    farm.ledger().topup("payer", 100_000_000)
    clip = tmp_path / "walk.mp4"
    write_video(clip, np.zeros((9, 64, 96, 3), np.uint8), 8, {"model": "none"})
    context, page = signed_in(chromium, farm, tenants.api_keys.create("payer")[1])
    page.get_by_role("link", name="New job").click()
    page.get_by_label("Prompt", exact=True).fill("the same walk, at night")
    expect(page.locator(".drop[data-role=video]")).to_be_hidden()
    page.get_by_label("Model").select_option(VACE)
    expect(page.locator("#e-")).to_be_empty()
    dropped(page, "video", clip)
    expect(page.locator(".drop[data-role=video] small")).to_contain_text("walk.mp4")
    page.get_by_label("Resolution").select_option("480p")
    # how long the clip is nobody has looked at yet
    expect(page.locator("[data-say=cost]")).to_have_text("about 10 of 100 credits")
    expect(page.locator("[data-say=model]")).to_have_text(VACE)
    page.get_by_label("Resolution").select_option("720p")
    expect(page.locator("#e-")).to_contain_text("The price of this job is not known")
    expect(page.locator("[data-say=cost]")).to_have_text("not known")
    expect(page.get_by_role("button", name="Submit")).to_be_disabled()
    page.get_by_label("Resolution").select_option("480p")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("h1")).to_have_text("the same walk, at night")
    expect(page.locator(".about")).to_contain_text("video video/mp4 · 96 × 64")
    farm.ledger().cancel("payer", page.url.rpartition("/")[2])
    context.close()


def test_one_job_is_cancelled_and_many_by_their_filter(page: Page, farm: Farm) -> None:
    ids = admitted(farm, 103, "act-on-many")
    page.goto(f"/console/jobs/{ids[0]}")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Yes, do it").click()
    expect(page.locator("#status .chip")).to_have_text("Cancelled")
    page.goto("/console/jobs?label=act-on-many&show=approval")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("Pause 102 jobs")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator("#notices")).to_contain_text("102 paused")
    # of two that are chosen one is told live to another page
    page.goto("/console/jobs?label=act-on-many")
    for one in page.locator(".pick input").all()[:2]:
        one.check()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.locator("#notices")).to_contain_text("2 cancelled")
    expect(page.locator("#jobs .chip.cancelled")).to_have_count(2)
    page.goto("/console/activity")
    expect(page.locator("tbody tr").first).to_contain_text("2 chosen jobs")
    expect(page.locator("tbody tr").nth(1)).to_contain_text("102")
    states = farm.ledger().counts(farm.notes["tenant"], label="act-on-many")
    assert (states[State.CANCELLED], states[State.QUEUED]) == (3, 100)


def test_what_an_operator_pauses_and_resumes_is_shown_without_a_reload(page: Page, farm: Farm) -> None:
    [job] = admitted(farm, 1, "stands-still", pool="a-pool-without-workers", approved=True)
    pool = (SwitchKind.POOL, "a-pool-without-workers")
    # pages that ask by themselves now and then would hear of it, too
    page.add_init_script("window.setInterval = () => 0")
    page.goto("/console/jobs?label=stands-still")
    chip = page.locator(f'[data-job="{job}"] .chip')
    expect(chip).to_have_text("Queued")
    paused = page.get_by_role("navigation", name="Filter").get_by_role("link", name="Paused")
    expect(paused).to_have_count(0)
    farm.ledger().pause(*pool, who="an operator", why="a test")
    expect(chip).to_have_text("Paused by an operator")
    expect(paused).to_be_visible()
    page.goto(f"/console/jobs/{job}")
    expect(page.locator("#why")).to_contain_text("An operator paused the pool")
    farm.ledger().resume(*pool, who="an operator", why="a test")
    expect(page.locator("#status .chip")).to_have_text("Queued")
    expect(page.locator("#why")).not_to_contain_text("paused")
    farm.ledger().pause(*pool, who="an operator", why="a test")
    expect(page.locator("#screen")).to_contain_text("Paused by an operator")
    farm.ledger().resume(*pool, who="an operator", why="a test")
    farm.ledger().cancel(farm.notes["tenant"], job)


def test_an_operator_pauses_a_pool_and_says_why_without_a_mouse(chromium: Browser, farm: Farm) -> None:
    tenants = Tenants(farm.redis(), farm.settings)
    tenants.create("night-shift")
    [job] = admitted(farm, 1, "by-hand", tenant="night-shift", pool="by-hand", approved=True)
    key = tenants.api_keys.create("night-shift", role=Role.OPERATOR)[1]
    context, page = signed_in(chromium, farm, key)
    page.goto("/console/farm/queue")
    pause, dialog = page.get_by_role("button", name="Pause by-hand"), page.get_by_role("dialog")
    pause.press("Enter")
    expect(dialog.get_by_label("Why")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(pause).to_be_focused()
    page.keyboard.press("Enter")
    # who takes time for the answer is not overtaken by the page, which looks at itself every few seconds
    for _ in range(2):
        with page.expect_response(lambda answer: "x-part" in answer.request.headers):
            pass
    dialog.get_by_label("Why").press_sequentially("a new driver")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Resume by-hand")).to_be_visible()
    assert (SwitchKind.POOL, "by-hand") in farm.ledger().paused()
    page.goto("/console/farm/log")
    expect(page.locator("tbody tr").first).to_contain_text("a new driver")
    farm.ledger().resume(SwitchKind.POOL, "by-hand", who="an operator", why="a test")
    farm.ledger().cancel("night-shift", job)
    context.close()


def test_another_studios_job_is_not_there_and_strangers_text_is_text(page: Page, farm: Farm) -> None:
    tenants = Tenants(farm.redis(), farm.settings)
    tenants.create("neighbour")
    foreign = admitted(farm, 1, "x", tenant="neighbour")[0]
    with page.expect_response(re.compile(foreign)) as answer:
        page.goto("/console/usage")
        page.evaluate("id => fetch(`/console/jobs/${id}`)", foreign)
    assert answer.value.status == 404
    mine = farm.submit(
        EVIL, name=EVIL, label=EVIL, **{**SMALL, "model": MODELS[I2V].id.replace("i2v", "t2v"), "steps": 1}
    )
    for path in ("jobs", f"jobs/{mine}", "batches", f"compare?id={mine}&id={mine}"):
        page.goto(f"/console/{path}")
        expect(page.locator("main")).to_contain_text("<script>alert(1)</script>")


def test_another_sites_page_neither_acts_nor_shows_the_console(chromium: Browser, farm: Farm) -> None:
    """From a page of another site, in the browser that is signed in: by a script, in a frame, by a form."""
    context, page = signed_in(chromium, farm, farm.notes["key"])
    [job] = admitted(farm, 1, "cross-site")
    here = farm.notes["url"]
    # by another name this machine is another site
    elsewhere = here.replace("127.0.0.1", "localhost")
    page.route(f"{elsewhere}/attack", lambda route: route.fulfill(content_type="text/html", body="<p>attack</p>"))
    page.goto(f"{elsewhere}/attack")
    cancel = f"{here}/console/jobs/{job}/cancel"
    send = """url => fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include'})
        .then(answer => answer.type, error => error.name)"""
    # it is sent, but the answer is kept from the page
    assert page.evaluate(send, cancel) == "TypeError"
    framed = """url => new Promise(done => { const frame = document.createElement('iframe'); frame.src = url;
        frame.onload = done; document.body.append(frame) }).then(() => null)"""
    page.evaluate(framed, f"{here}/console/jobs")
    assert len(page.frames) == 2
    assert not page.frames[1].url.startswith(here)
    form = """url => { const form = document.createElement('form'); form.method = 'post'; form.action = url;
        document.body.append(form); form.submit() }"""
    with page.expect_response(cancel) as answer:
        page.evaluate(form, cancel)
    assert answer.value.status == 403
    found = farm.ledger().find(job)
    assert found is not None
    assert found.state is State.QUEUED
    context.close()


def test_a_thousand_tiles_fill_in_and_stay_live(page: Page, farm: Farm) -> None:
    ids = admitted(farm, 1000, "sheet")
    page.goto("/console/jobs?label=sheet&view=tiles")
    tiles = page.locator("#jobs .tile")
    while tiles.count() < 1000:
        before = tiles.count()
        page.mouse.wheel(0, 100_000)
        page.wait_for_function("n => document.querySelectorAll('#jobs .tile').length > n", arg=before)
    # the oldest, which came last: told over the stream, not asked for
    farm.ledger().cancel(farm.notes["tenant"], ids[0])
    expect(page.locator(f'[data-job="{ids[0]}"] .chip')).to_have_text("Cancelled")
    assert tiles.count() == 1000


@pytest.fixture(scope="module")
def few_jobs(farm: Farm) -> tuple[str, str]:
    """An operator's key of a studio with few jobs, and its finished one: axe looks at each row of a list, for seconds
    when there are a thousand. One of its jobs left a purchase of which nothing is known."""
    tenants = Tenants(farm.redis(), farm.settings)
    tenants.create("looked-at")
    admitted(farm, 4, "few", tenant="looked-at")
    (bought,) = admitted(farm, 1, "few", tenant="looked-at", pool="nobody-s", approved=True)
    nonce, intent = uuid4().hex, {"provider": "kie", "key": "main", "sold": "wan/2-2-a14b-text-to-video-turbo"}
    claim = farm.ledger().buy(bought, "burst", nonce, intent, price=200_000)
    assert isinstance(claim, Claim)
    farm.ledger().unbuy(bought, claim.attempt, nonce, None)
    # other tests of this farm look at what is left in its queues
    farm.ledger().cancel("looked-at", bought)
    key = tenants.api_keys.create("looked-at", role=Role.OPERATOR)[1]
    with Client(farm.notes["url"], key) as client:
        job = client.jobs.create("a lake", **SMALL).id
        farm.wait(lambda: client.jobs.get(job).state == State.SUCCEEDED, "a job to succeed")
    return key, job


def test_axe_finds_nothing_serious(chromium: Browser, farm: Farm, few_jobs: tuple[str, str]) -> None:
    """On every page, as it looks on a desktop at night and on a phone by day."""
    key, job = few_jobs
    context, page = signed_in(chromium, farm, key)
    found = []
    for path in (*PAGES, *MORE_PAGES, f"jobs/{job}", f"compare?id={job}&id={job}", "sign-in", "jobs/none"):
        page.goto(f"/console/{path}")
        page.locator("h1").first.wait_for()
        for scheme, wide in LOOKS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": wide, "height": 800})
            looks = f"{path}, {scheme}, {wide}"
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{looks}: too wide"
            for one in Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]:
                if one["impact"] in ("serious", "critical"):
                    found.append((looks, one["id"], [node["html"][:150] for node in one["nodes"][:3]]))
    context.close()
    assert found == []


def test_no_table_hides_a_column(chromium: Browser, farm: Farm) -> None:
    """On the smallest desktop, with the longest words that there are in practice."""
    tenants, ledger = Tenants(farm.redis(), farm.settings), farm.ledger()
    tenants.create("wordy", name="A Very Long Named Production Company of the North", max_open=20_000, max_running=12)
    ledger.topup("wordy", 249_829_843_800, note=f"batch batch_{'0' * 32}")
    [job] = admitted(farm, 1, "words", tenant="wordy", hold=11_343_750)
    worker, lane = "gpu-a1.rack3.example/3", "wan2.2-vace-fun-a14b-tiny@bf16"
    device = WorkerStatus(
        device="NVIDIA H100 80GB HBM3",
        state=WorkerState.QUARANTINED,
        reason="3 different jobs failed on this device in 600 s: an illegal memory access was encountered",
        models=("wan2.2-vace-fun-a14b-tiny",),
        lane=lane,
        memory={"device_bytes": 80 * 10**9, "host_bytes": 256 * 10**9},
        job=job,
    )
    ledger.worker_seen(worker, "a-pool-of-words", device, ttl_s=600, slots=0)
    ledger.rendered("a-pool-of-words", lane, work_tflop=1000, seconds=10.3)
    why = "weights are checked after a bad checksum, ticket OPS-1142; render nothing of it before Monday"
    ledger.pause(SwitchKind.WORKER, worker, who="key LOqsP7Ba of wordy", why=why)
    context, page = signed_in(chromium, farm, tenants.api_keys.create("wordy", role=Role.OPERATOR)[1])
    hidden = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.ariaLabel)"
    for path in ("usage", "activity", "studio", *(path for path in (*PAGES, *MORE_PAGES) if path.startswith("farm/"))):
        for wide in (1280, 390):
            page.set_viewport_size({"width": wide, "height": 900})
            page.goto(f"/console/{path}")
            assert page.locator(".scroll").evaluate_all(hidden) == [], (path, wide)
    ledger.resume(SwitchKind.WORKER, worker, who="an operator", why="a test")
    ledger.worker_gone(worker, "a-pool-of-words")
    ledger.cancel("wordy", job)
    context.close()


@pytest.mark.soak
def test_ten_thousand_rows_stay_live_and_few_are_in_the_page_at_once(page: Page, farm: Farm) -> None:
    """bench/console_pages.py measures the same list."""
    ids = admitted(farm, 10_000, "rows")
    page.goto("/console/jobs?label=rows")
    rows = page.locator("#jobs .row")

    def known() -> int:
        return int(page.evaluate("document.querySelector('#chosen').textContent.replace(/\\D/g, '')") or 0)

    while page.locator(".older").count():
        page.mouse.wheel(0, 100_000)
        page.wait_for_timeout(50)
    assert rows.count() < 1500
    # the oldest, which came last, and the newest, which was put aside meanwhile
    farm.ledger().cancel(farm.notes["tenant"], ids[0])
    expect(page.locator(f'[data-job="{ids[0]}"] .chip')).to_have_text("Cancelled")
    page.get_by_label("Choose all shown").check()
    assert known() == 10_000
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator(f'[data-job="{ids[-1]}"] input')).to_be_checked()
    # one in the middle is asked for again, and still chosen
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
    middle = page.locator("#jobs .row input:checked")
    expect(middle.first).to_be_attached()
    assert rows.count() < 1500
    # its label says by now how many are chosen
    page.get_by_label("10,000 chosen").uncheck()
    expect(middle).to_have_count(0)
    # a filter of so many is answered as ever
    page.goto("/console/jobs?label=rows&show=cancelled")
    expect(rows).to_have_count(1)
