"""The gateway that the client's tests use, and the command that asks it."""

from tests.farm.cli.cli_farm import wanfarm, worker  # noqa: F401 - fixtures
from tests.farm.client.conftest import claimed, farm, gateway  # noqa: F401 - fixtures
