"""wiro's request signature, and telling JSON from multipart by the bytes. Pure; knows no tenant and no secret store."""

import hashlib
import hmac
import secrets

MISSING = "Project requires signature authentication. x-signature and x-nonce headers are required."
WRONG = "Project authorization is not valid."
UNKNOWN = "Project authorization is not founded."


def sign(api_key: str, api_secret: str, nonce: str) -> str:
    """Lower-case hex. The nonce is any text (seconds, milliseconds, a random number); the body is not signed."""
    return hmac.new(api_key.encode(), (api_secret + nonce).encode(), hashlib.sha256).hexdigest()


def headers(api_key: str, api_secret: str | None = None) -> dict[str, str]:
    """The headers of a request: the key alone, or signed with a fresh nonce."""
    if api_secret is None:
        return {"x-api-key": api_key}
    nonce = str(secrets.randbelow(10**15))
    return {"x-api-key": api_key, "x-nonce": nonce, "x-signature": sign(api_key, api_secret, nonce)}


def verify(api_key: str, api_secret: str, nonce: str, signature: str) -> bool:
    """Also with what openssl prints in front of the digest ("SHA2-256(stdin)= "), as wiro's own recipe leaves it."""
    words = signature.split()
    given = words[-1].lower() if words else ""
    # compare_digest takes text only as ASCII
    return hmac.compare_digest(sign(api_key, api_secret, nonce).encode(), given.encode("utf-8", "replace"))


def is_json(content_type: str, body: bytes) -> bool:
    """Whether the body is JSON whatever its label says: wiro's own curl lines call JSON multipart, without boundary."""
    label = content_type.lower()
    if body.lstrip()[:1] == b"{":
        return True
    if label.startswith("multipart/form-data"):
        return "boundary=" not in label
    return not label.startswith("application/x-www-form-urlencoded")
