"""Keys of objects: the one place that knows them. Pure."""

import re

from farm.jobs.job import Fence

#: characters of a claim's nonce in the name of its holder's folder: enough to tell the few holders of one attempt apart
_NONCE_CHARS = 8
#: the pattern of a whole id
UPLOAD_ID = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
_UPLOAD_ID = re.compile(UPLOAD_ID)


def input_key(tenant: str, sha256: str) -> str:
    """The key of an input: equal content of one tenant is stored once."""
    return f"inputs/{tenant}/{sha256}"


def result_key(tenant: str, job_id: str, attempt: int, name: str) -> str:
    """`name` is video.mp4, poster.jpg or recipe.json. The holder's own prefix: a late writer, or a second holder of
    the same attempt, overwrites nothing, and each may remove what is its own."""
    holder = f"{attempt}-{attempt.nonce[:_NONCE_CHARS]}" if isinstance(attempt, Fence) else f"{attempt}"
    return f"{result_prefix(tenant, job_id)}{holder}/{name}"


def result_prefix(tenant: str, job_id: str) -> str:
    """Everything that any attempt at the job wrote."""
    return f"results/{tenant}/{job_id}/"


def upload_key(tenant: str, upload_id: str) -> str:
    """Where a client's presigned PUT lands, before intake has looked at it."""
    return f"uploads/{tenant}/{upload_id}"


def is_upload_id(text: str) -> bool:
    """Whether `text` could name an upload, and nothing outside its tenant's own."""
    return _UPLOAD_ID.fullmatch(text) is not None


def lora_key(tenant: str, lora_id: str) -> str:
    """A tenant's LoRA, once it was judged."""
    return f"loras/{tenant}/{lora_id}"
