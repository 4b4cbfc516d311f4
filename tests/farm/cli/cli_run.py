"""Running the command inside the test's process, as a shell would see it."""

import contextlib
import io
import json
import os
from dataclasses import dataclass
from typing import Any
from unittest import mock

from farm.cli import main


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    def ok(self) -> "Ran":
        assert self.code == 0, self
        # nobody looks: no colours, no cursor movements
        assert "\x1b" not in self.out + self.err, self
        return self

    @property
    def document(self) -> Any:
        """The one JSON document of a run with --json."""
        return json.loads(self.ok().out)


def run(*arguments: object) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    # --config ends up in the environment, for the processes that a command starts: not in this one's
    with mock.patch.dict(os.environ), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Ran(code, out.getvalue(), err.getvalue())
