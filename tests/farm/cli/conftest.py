"""The gateway that the client's tests use."""

from tests.farm.client.conftest import claimed, farm, gateway  # noqa: F401 - fixtures
