"""Log lines that name the job that they are about, by the id of its trace; as JSON where that is asked for."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from farm.tracing.ids import trace_of

#: how a line looks where nobody asked for JSON; the job's trace stands at its end
JOB_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s%(traced)s"
#: the job that this context works for
_job: ContextVar[str | None] = ContextVar("job", default=None)


@contextmanager
def about(job_id: str) -> Iterator[None]:
    """Log lines that this thread writes meanwhile are about the job."""
    token = _job.set(job_id)
    try:
        yield
    finally:
        _job.reset(token)


class WithTrace(logging.Filter):
    """Gives every record its `trace_id` ("" where no job is at hand), and `traced`, the same as words."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        job_id = _job.get()
        record.trace_id = "" if job_id is None else trace_of(job_id)
        record.traced = f" trace={trace_of(job_id)}" if job_id is not None else ""
        return True


class JsonLines(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in UTC, level, logger, message; trace and request where there are any; the exception's text."""
        told = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "trace_id": getattr(record, "trace_id", ""),
            "request_id": getattr(record, "request_id", ""),
            "exception": self.formatException(record.exc_info) if record.exc_info else "",
        }
        return json.dumps({name: value for name, value in told.items() if value}, ensure_ascii=False)


def log_handler(*, json_lines: bool, text_format: str = JOB_FORMAT) -> logging.Handler:
    """A handler to standard error whose lines name the job that they are about."""
    handler = logging.StreamHandler()
    handler.addFilter(WithTrace())
    handler.setFormatter(JsonLines() if json_lines else logging.Formatter(text_format))
    return handler


def begin_logs(*, json_lines: bool, level: int | str = logging.INFO) -> None:
    """Log lines of this process go to standard error from now on."""
    logging.basicConfig(level=level, handlers=[log_handler(json_lines=json_lines)])
