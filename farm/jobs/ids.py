"""Identifiers. A job id is a UUIDv7: 36 characters, ordered by time of creation, with 74 random bits."""

import re

import uuid_utils

#: the pattern of a whole id
JOB_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_UUID = re.compile(JOB_ID)


def new_job_id() -> str:
    """A new job id: a UUIDv7, so that ids sort by the time they were made."""
    return str(uuid_utils.uuid7())


def is_job_id(text: str) -> bool:
    """Whether `text` could be one of ours; anything else is not found without asking Redis."""
    return _UUID.fullmatch(text) is not None
