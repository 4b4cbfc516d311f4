"""Hooks of the embedded gateway: its worker processes end with their master, also when that one is killed."""

from typing import Any

from farm import lifeline


def post_fork(_server: Any, worker: Any) -> None:
    # gunicorn's own check takes a second or more, and only between requests
    lifeline.bind(parent=worker.ppid)
