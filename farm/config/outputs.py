"""Settings of what goes out: webhooks and content credentials."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from farm.config.section import Section
from models.provenance.signing import SigningPolicy


class DialectRetries(Section):
    """How often a webhook in this dialect is tried again; the first pause in seconds."""

    first_retry_s: float = 30.0
    retries: int = 3


class WebhookSettings(Section):
    """Terminal events are posted at least once, retried with growing, jittered pauses until give_up_s."""

    #: a receiver has this long to answer
    timeout_s: float = 10.0
    first_retry_s: float = 5.0
    max_retry_s: float = 3600.0
    give_up_s: float = 86400.0
    #: dialects that document a rule of their own
    dialects: dict[str, DialectRetries] = Field(default_factory=lambda: {"apixo": DialectRetries()})
    #: posts at once in one io worker; receivers that failed last may use half of them
    threads: int = 16
    #: posts at once to one receiver of one tenant; one while it fails
    per_receiver: int = 4
    #: how often beat looks for what is due
    every_s: float = 1.0
    #: dead letters kept per tenant
    dead_kept: int = 10_000


class ProvenanceSettings(Section):
    """Content credentials (C2PA) in finished videos, signed with the operator's certificate."""

    #: for tenants that are not named below: off, on (sign when it can be done) or required (unsigned is a failure)
    policy: SigningPolicy = SigningPolicy.OFF
    #: tenant id -> policy
    tenants: dict[str, SigningPolicy] = Field(default_factory=dict)
    #: PEM: the signing certificate, then its issuers
    certificate: Path | None = None
    #: PEM: its private key, unencrypted; only the worker's user should be able to read it
    key: Path | None = None
    #: as the key is: es256, es384, es512, ps256, ps384, ps512 or ed25519
    algorithm: str = "es256"
    #: RFC 3161 authority, so that signatures outlive the certificate; every result asks it
    timestamp_url: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("provenance.certificate and provenance.key go together")
        if self.certificate is None and SigningPolicy.REQUIRED in (self.policy, *self.tenants.values()):
            raise ValueError("provenance.policy is required, which needs a certificate and its key")
        return self
