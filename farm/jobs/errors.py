"""Everything that can go wrong with a job or a request, as types and as stable codes.

FarmError
├── RequestError        the caller's fault; `http_status` is a 4xx and the text says what to do
│   ├── InvalidRequest  422, names the field
│   │   ├── AddressRefused      a URL that the guard does not dial (private, no http, strange port, ...)
│   │   ├── AddressUnreachable  a URL that was dialled and gave nothing usable; `passing` when trying again may help
│   │   └── ModelUnavailable    nobody here renders that model
│   ├── NotFound        404, also for another tenant's id
│   ├── Unauthorized    401
│   ├── Forbidden       403
│   ├── Conflict        409 (an idempotency key used with another body, a job already over)
│   ├── TooLarge        413
│   ├── PaymentRequired 402 (credit, or a price that is not known)
│   └── TooMany         429, carries retry_after_s
├── Unavailable         503, the farm's fault and passing (Redis or S3 away)
│   └── NoWorkerYet     nobody renders yet
└── JobFault            why an attempt ended badly: a FaultCode and a sentence
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class FaultCode(StrEnum):
    """Stable names of the ways a job can fail; users read them, so they never change meaning."""

    # the job's own fault: never retried
    INVALID_INPUT = "invalid_input"
    INPUT_UNREACHABLE = "input_unreachable"
    INPUT_REFUSED = "input_refused"
    DOES_NOT_FIT = "does_not_fit"
    PROVENANCE_REQUIRED = "provenance_required"
    INSUFFICIENT_CREDIT = "insufficient_credit"
    #: another job, which it was to follow, has no result
    DEPENDENCY_FAILED = "dependency_failed"
    # the farm's fault: retried with backoff
    ENGINE_DIED = "engine_died"
    ENGINE_ERROR = "engine_error"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_OUTPUT = "bad_output"
    DEVICE_FAULT = "device_fault"
    STORAGE_FAILED = "storage_failed"
    WORKER_LOST = "worker_lost"
    STUCK = "stuck"
    TOO_LONG = "too_long"
    # a verdict over several attempts
    POISONOUS = "poisonous"
    DEADLINE_PASSED = "deadline_passed"
    # asked for
    CANCELLED = "cancelled"
    #: it did not start by its start-by time, or was not finished within its completion window
    EXPIRED = "expired"
    #: an operator ended it
    ENDED_BY_OPERATOR = "ended_by_operator"
    # at a provider
    PROVIDER_FAILED = "provider_failed"


#: a new attempt may help
RETRYABLE = frozenset(
    {
        FaultCode.ENGINE_DIED,
        FaultCode.ENGINE_ERROR,
        FaultCode.OUT_OF_MEMORY,
        FaultCode.BAD_OUTPUT,
        FaultCode.DEVICE_FAULT,
        FaultCode.STORAGE_FAILED,
        FaultCode.WORKER_LOST,
        FaultCode.STUCK,
        FaultCode.TOO_LONG,
    }
)

#: the attempt took its worker or engine down with it; two of these make a job poisonous
KILLS_WORKER = frozenset({FaultCode.ENGINE_DIED, FaultCode.WORKER_LOST})


class FarmError(Exception):
    """Root of everything that Wanfarm raises on purpose."""


@dataclass
class RequestError(FarmError):
    """A request that cannot be served as it is. `detail` says what to do; `field` is a dotted path or None."""

    detail: str
    field: str | None = None
    http_status = 400
    slug = "bad-request"

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}" if self.field else self.detail


class InvalidRequest(RequestError):
    """A field of the request cannot be honoured; `field` names it."""

    http_status = 422
    slug = "invalid-request"


class ModelUnavailable(InvalidRequest):
    """A model that this farm knows or not, but renders nowhere now."""

    slug = "model-unavailable"


class AddressRefused(InvalidRequest):
    """An address that the farm does not fetch or post to."""

    slug = "address-refused"


@dataclass
class AddressUnreachable(InvalidRequest):
    """An address that does not answer. `passing`: it may answer later."""

    passing: bool = False
    slug = "address-unreachable"


class NotFound(RequestError):
    """There is no such thing, or it is another tenant's."""

    http_status = 404
    slug = "not-found"


class Unauthorized(RequestError):
    """No key, or none that is known."""

    http_status = 401
    slug = "unauthorized"


class Forbidden(RequestError):
    """The key, or its tenant, may not do this."""

    http_status = 403
    slug = "forbidden"


class Conflict(RequestError):
    """The request does not fit what is there already."""

    http_status = 409
    slug = "conflict"


class TooLarge(RequestError):
    """More bytes, or more jobs, than the farm ever takes at once."""

    http_status = 413
    slug = "too-large"


class PaymentRequired(RequestError):
    """The tenant's credit does not cover it, or its price is not known."""

    http_status = 402
    slug = "payment-required"


@dataclass
class TooMany(RequestError):
    """Over a rate or an open-job limit; come back in `retry_after_s` seconds."""

    retry_after_s: float = 1.0
    http_status = 429
    slug = "too-many"


@dataclass
class Unavailable(FarmError):
    """A part of the farm is away; the request was not stored and may be sent again in `retry_after_s`."""

    detail: str
    retry_after_s: float = 2.0

    def __str__(self) -> str:
        return self.detail


@dataclass
class NoWorkerYet(Unavailable):
    """No worker has said yet which models it renders: the farm has just begun, or none was ever started."""

    slug: ClassVar[str] = "no-worker"


@dataclass
class JobFault(FarmError):
    """Why an attempt ended badly. `message` is for the job's owner: no paths, no stack trace."""

    code: FaultCode
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def retryable(self) -> bool:
        """Whether another attempt might succeed."""
        return self.code in RETRYABLE
