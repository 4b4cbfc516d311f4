"""Traces and log lines of one job under one id, in every process. The id is the job's own, so nothing has to be handed
on: whoever knows the job knows its trace."""

from farm.tracing.ids import trace_of
from farm.tracing.log_lines import about, begin_logs, log_handler
from farm.tracing.spans import begin, begin_with, span

__all__ = ["about", "begin", "begin_logs", "begin_with", "log_handler", "span", "trace_of"]
