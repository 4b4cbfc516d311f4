"""Standard Webhooks signatures (standardwebhooks.com): HMAC-SHA256 over id, time and body. Pure."""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
#: a receiver refuses what is older; so do we
TOLERANCE_S = 300


def new_secret() -> str:
    """A random secret in the form of Standard Webhooks: "whsec_" and 32 bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes of `whsec_<base64>`. Raises ValueError unless they are 24 to 64, as the standard wants."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a webhook secret is whsec_ and base64") from None
    if not secret.startswith(PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError("a webhook secret is whsec_ and 24 to 64 bytes in base64")
    return key


def headers(secrets_: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers; one signature per secret, so that a receiver may change to a new one in its own time."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(_sign(secret, message_id, timestamp_s, body) for secret in secrets_),
    }


def verify(secret: str, given: Mapping[str, str], body: bytes, now_s: float) -> bool:
    """Whether the headers (in any case) were made with `secret` for this body, within five minutes of now."""
    fields = {name.lower(): value for name, value in given.items()}
    stamp = fields.get("webhook-timestamp", "")
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) < 13) or abs(now_s - int(stamp)) > TOLERANCE_S:
        return False
    expected = _sign(secret, fields.get("webhook-id", ""), int(stamp), body).encode()
    signatures = fields.get("webhook-signature", "").split()
    return any(hmac.compare_digest(expected, one.encode("utf-8", "replace")) for one in signatures)


def _sign(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode()
