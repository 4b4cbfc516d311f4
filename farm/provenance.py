"""Which results are signed, by whose certificate: settings and a tenant in, models.signing does it."""

import logging
from pathlib import Path

from farm.config import ProvenanceSettings
from farm.jobs.errors import FaultCode, JobFault
from models import signing
from models.request import RenderFault, RenderResult
from models.signing import Credentials, Policy

log = logging.getLogger(__name__)


def policy_of(settings: ProvenanceSettings, tenant: str) -> Policy:
    return settings.tenants.get(tenant, settings.policy)


def sign(settings: ProvenanceSettings, tenant: str, result: RenderResult) -> None:
    """Sign the result's video in place as the tenant's policy says; what may go unsigned and does is logged.

    JobFault provenance_required when it must be signed and cannot.
    """
    credentials = None
    if settings.certificate is not None and settings.key is not None:
        credentials = Credentials(settings.certificate, settings.key, settings.algorithm, settings.timestamp_url)
    try:
        unsigned = signing.follow(policy_of(settings, tenant), credentials, Path(result.video), result.recipe)
    except RenderFault as fault:
        log.error("a result could not be signed: %s", fault.__cause__)
        raise JobFault(FaultCode(fault.code), fault.message) from fault
    if unsigned is not None:
        log.warning("a result goes out unsigned: %s", unsigned)
