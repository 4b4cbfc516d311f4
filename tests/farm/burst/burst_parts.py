"""What the tests of burst share: a farm without a GPU that buys, and providers that cost nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from farm.burst.context import BurstContext
from farm.burst.process import Burst, context_of
from farm.config import ProviderSettings, Settings
from farm.jobs.ids import new_job_id
from farm.jobs.job import Job, NewJob
from farm.jobs.purchase import Purchase
from farm.jobs.spec import InputRef, JobSpec
from farm.jobs.states import State
from farm.ledger import Ledger
from models.catalog import MODELS
from tests.conftest import wait_until
from tools.provider_simulator.dialects import DIALECTS
from tools.provider_simulator.server import SimulatorServer
from tools.provider_simulator.simulator import Knobs, Simulator

KEY = "sim-key-that-nobody-may-see"
KEY_ENV = "BURST_TEST_KEY"
POOL = "gpu"
TENANT = "acme"
#: what a clip of the tests costs at kie, in millionths of a dollar: 5 s of 480p
PRICE = 200_000
T2V = "wan2.2-t2v-a14b-4step"
#: what the tests buy of each dialect: provider's model -> its settings
SOLD = {
    "kie": {"wan/2-2-a14b-text-to-video-turbo": {"per_second": {"480p": 0.04}}},
    "apixo": {"wan-2-2-animate": {"per_second": {"480p": 0.04}, "minimum_s": 5}},
    "crun": {"wan/2-2-animate-move": {"per_second": {"480p": 0.03}, "minimum_s": 5}},
}
PICTURE = InputRef(key="inputs/acme/a", sha256="a", kept_sha256="a", content_type="image/png", width=832, height=480)
CLIP = InputRef(
    key="inputs/acme/b", sha256="b", kept_sha256="b", content_type="video/mp4", width=832, height=480, seconds=4.8,
    frames=77, fps=16.0,
)  # fmt: skip


def spec(prompt: str = "a fox", model: str = T2V, **changes: Any) -> JobSpec:
    own = MODELS[model].defaults
    values: dict[str, Any] = {
        "model": model, "task": "t2v", "prompt": prompt, "negative_prompt": "", "width": 832, "height": 480,
        "frames": own.frames, "fps": own.fps, "steps": own.steps, "guidance": own.guidance,
        "guidance_2": own.guidance_2, "shift": own.shift, "seed": 7,
    }  # fmt: skip
    return JobSpec(**values | changes)


def new_job(prompt: str = "a fox", **changes: Any) -> NewJob:
    of_spec = changes.pop("spec", None) or spec(prompt)
    values: dict[str, Any] = {
        "id": new_job_id(), "tenant": TENANT, "spec": of_spec, "pool": POOL, "lane": f"{of_spec.model}@bf16",
        "predicted_s": 60.0, "wall_s": 1800.0,
    }  # fmt: skip
    return NewJob(**values | changes)


def animate_job(prompt: str = "a fox") -> NewJob:
    """What apixo and crun sell something for."""
    inputs = {"image": PICTURE, "video": CLIP}
    return new_job(spec=spec(prompt, "wan2.2-animate-14b", task="animate", frames=77, fps=16.0, inputs=inputs))


@contextmanager
def simulated(dialect: str, folder: Path, **knobs: Any) -> Iterator[Simulator]:
    """A provider that listens; renders in a moment unless told otherwise."""
    made = Simulator(DIALECTS[dialect], folder / dialect, key=KEY, secret=None, balance=1e6)
    made.knobs = Knobs(**{"queue_s": 0.0, "render_s": 0.05, "size": (64, 64), "frames": 5} | knobs)
    server = SimulatorServer(made, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def provider(simulator: Simulator, **more: Any) -> ProviderSettings:
    """Its entry in the settings."""
    dialect = simulator.dialect.name
    values: dict[str, Any] = {
        "dialect": dialect, "base_url": simulator.address, "keys": {"main": {"env": KEY_ENV}},
        "unit_usd": simulator.dialect.unit_usd, "models": SOLD.get(dialect, {}),
        "poll_first_s": 0.05, "poll_max_s": 0.1, "timeout_s": 20.0, "rate_per_s": 1000,
        "rate_burst": 1000, "concurrency": 100,
    }  # fmt: skip
    return ProviderSettings.model_validate(values | more)


def buying(
    settings: Settings, simulators: dict[str, Simulator], *, public_url: str | None = None, **burst: Any
) -> Settings:
    """The settings of a farm that buys from these at once whatever waits."""
    providers = {name: provider(one) for name, one in simulators.items()}
    return buying_from(settings, providers, public_url=public_url, **burst)


def buying_from(
    settings: Settings, providers: dict[str, ProviderSettings], *, public_url: str | None = None, **burst: Any
) -> Settings:
    """The same of any providers."""
    eager = {"external": "any", "after_s": 0.0, "least_depth": 1, "least_dwell_s": 0.0, "every_s": 0.05,
             "left_every_s": 0.1, "unknown_after_s": 600.0, "allow_networks": ("127.0.0.0/8",)}  # fmt: skip
    return settings.model_copy(
        update={
            "burst": settings.burst.model_copy(update=eager | burst),
            "providers": providers,
            "gateway": settings.gateway.model_copy(update={"public_url": public_url}),
            "lease": settings.lease.model_copy(update={"seconds": 3.0}),
        }
    )


class BuyingFarm:
    """Runs burst in a thread of the test."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.context: BurstContext = context_of(settings, "burst-1")
        self.ledger: Ledger = self.context.ledger
        self._stop = threading.Event()
        self._burst = Burst(self.context, self._stop)
        self._thread = threading.Thread(target=self._burst.run, daemon=True)

    def __enter__(self) -> "BuyingFarm":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(90)
        assert not self._thread.is_alive()

    def admit(self, *jobs: NewJob) -> list[str]:
        answers, _ = self.ledger.admit(jobs)
        return [one.id for one in answers]

    def job(self, job_id: str) -> Job:
        found = self.ledger.find(job_id)
        assert found is not None
        return found

    def purchase(self, job_id: str) -> Purchase:
        """The last one of the job."""
        purchases = self.ledger.purchases_of_job(job_id)
        assert purchases
        return purchases[-1]

    def until(self, job_id: str, true: Callable[[Job], object], what: str) -> Job:
        seen: list[Job] = []

        def holds() -> object:
            seen[:] = [self.job(job_id)]
            return true(seen[0])

        try:
            wait_until(holds, what=what)
        except BaseException as error:
            error.add_note(f"it is {seen}")
            raise
        return seen[0]

    def until_over(self, job_id: str) -> Job:
        return self.until(job_id, lambda job: job.state in (State.SUCCEEDED, State.FAILED, State.CANCELLED), "its end")

    def spent(self, scope: str = "farm") -> tuple[int, int]:
        """(held, spent) of this month."""
        return self.ledger.external_spend(scope, time.strftime("%Y-%m", time.gmtime()))


def mishap(on: str, do: str, **more: Any) -> dict[str, Any]:
    """A fault as the simulator's control endpoint takes it."""
    return {"on": on, "do": do} | more
