"""Decides which results are signed and by whose certificate; models.provenance.signing signs them."""

import logging
from pathlib import Path

from farm.config import ProvenanceSettings
from farm.jobs.errors import FaultCode, JobFault
from farm.tenants.tenants import Tenants
from models.planning.request import RenderFault, RenderResult
from models.provenance import signing
from models.provenance.signing import Credentials, SigningPolicy

log = logging.getLogger(__name__)


class Policies:
    """What each tenant wants: its record's word, else the settings'. Threads may share one."""

    def __init__(self, settings: ProvenanceSettings, tenants: Tenants) -> None:
        self._settings, self._tenants = settings, tenants

    def of(self, tenant_id: str) -> SigningPolicy:
        """Raises Unavailable when the record cannot be read: the policy is unknown then."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None and tenant.provenance is not None:
            return tenant.provenance
        return self._settings.tenants.get(tenant_id, self._settings.policy)

    def before_render(self, tenant_id: str) -> SigningPolicy:
        """`of`, asked before a render. Raises Unavailable as it does.

        JobFault provenance_required when results must be signed and there is nothing to sign them with: better before
        a render than after it.
        """
        policy = self.of(tenant_id)
        if policy is SigningPolicy.REQUIRED and _credentials(self._settings) is None:
            log.error("results of tenant %s must be signed, but no certificate is configured", tenant_id)
            raise JobFault(
                FaultCode.PROVENANCE_REQUIRED, "the result must carry content credentials; this farm has none"
            )
        return policy


def sign(settings: ProvenanceSettings, policy: SigningPolicy, result: RenderResult) -> None:
    """Sign the result's video in place as the policy says; what may go unsigned and does is logged.

    JobFault provenance_required when it must be signed and cannot.
    """
    try:
        unsigned = signing.follow(policy, _credentials(settings), Path(result.video), result.recipe)
    except RenderFault as fault:
        log.error("a result could not be signed: %s", fault.__cause__)
        raise JobFault(FaultCode(fault.code), fault.message) from fault
    if unsigned is not None:
        log.warning("a result goes out unsigned: %s", unsigned)


def _credentials(settings: ProvenanceSettings) -> Credentials | None:
    if settings.certificate is None or settings.key is None:
        return None
    return Credentials(settings.certificate, settings.key, settings.algorithm, settings.timestamp_url)
