"""Fixtures of the end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_laws import audit_end
from harness import Farm
from preloaded import Renders


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="module")
def two_agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm of two CPU workers whose engines do what the prompts say."""
    with Farm(tmp_path_factory.mktemp("farm"), {"worker": {"devices": "cpu:2"}}) as farm:
        yield farm.start(workers=2)


@pytest.fixture(scope="session")
def real_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """One worker that renders with the real pipelines on tiny weights. Modules that use it share the xdist group
    `e2e-real`, so that there is one."""
    settings = {
        "worker": {"engine": "farm.engine.child"},
        "lease": {"stuck_s": 60.0, "cancel_grace_s": 30.0},
        "prices": {"per_second": {"wan2.2-vace-fun-a14b-tiny": {"480p": 2.0}}},
    }
    with Farm(tmp_path_factory.mktemp("real"), settings, Renders) as farm:
        yield farm.start()


@pytest.fixture
def farm(two_agents: Farm) -> Iterator[Farm]:
    """The module's farm at rest; afterwards the laws are checked over the jobs of the test."""
    two_agents.settle()
    two_agents.acknowledged.clear()
    yield two_agents
    two_agents.thaw_all()
    two_agents.settle()
    audit_end(two_agents)
