"""A presigned PUT that takes exactly so many bytes: SigV4 with the length among the signed headers, which the SDK does
not offer. Pure."""

import hashlib
import hmac
from datetime import datetime
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"
_SIGNED = "content-length;host"


def presigned_put(
    *,
    host: str,
    secure: bool,
    bucket: str,
    key: str,
    size: int,
    access: str,
    secret: str,
    region: str,
    now: datetime,
    seconds: int,
) -> str:
    """`now` in UTC. A client must send `Content-Length: size`, as every HTTP client does with a file."""
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    scope = f"{day}/{region}/s3/aws4_request"
    path = quote(f"/{bucket}/{key}")
    given = {
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{access}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": _SIGNED,
    }
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(given.items()))
    request = f"PUT\n{path}\n{query}\ncontent-length:{size}\nhost:{host}\n\n{_SIGNED}\nUNSIGNED-PAYLOAD"
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signing = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    signature = hmac.digest(signing, text.encode(), "sha256").hex()
    return f"{'https' if secure else 'http'}://{host}{path}?{query}&X-Amz-Signature={signature}"
