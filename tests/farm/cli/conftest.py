"""The gateway that the client's tests use."""

from tests.farm.client.conftest import claimed, gateway  # noqa: F401 - fixtures
