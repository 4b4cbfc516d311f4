"""The console of a gateway on real parts."""

from collections.abc import Callable

import pytest
from flask import Flask

from tests.api.api_parts import Caller
from tests.api.console.console_parts import Browser


@pytest.fixture
def browser(app: Flask) -> Callable[[Caller], Browser]:
    """browser(alice): signed in with her key."""

    def make(caller: Caller) -> Browser:
        made = Browser(app.test_client(), caller.tenant)
        assert made.sign_in(caller.key).status_code == 303
        return made

    return make
