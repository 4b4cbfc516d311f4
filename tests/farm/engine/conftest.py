"""One engine that does what prompts say, and requests for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm.config import Settings
from farm.engine.process import Engine
from farm.engine.slots import Slot
from models.planning.request import RenderRequest

SLOT = Slot("cpu-0")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(state_dir=tmp_path_factory.mktemp("state"), worker={"engine": "tests.engines.actions"})


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = Engine(settings, SLOT)
    engine.start()
    yield engine
    engine.kill()


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[[str], RenderRequest]:
    def make(prompt: str, seed: int = 1) -> RenderRequest:
        out = tmp_path / f"out-{prompt.partition(':')[0]}-{seed}"
        out.mkdir(exist_ok=True)
        return RenderRequest(
            "actions", "t2v", prompt, "", 64, 64, 5, 8, 4, 4.0, None, 5.0, seed, str(out), provenance={"job": "j"}
        )

    return make
