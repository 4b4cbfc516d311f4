"""The secret that signs all that is sent to a tenant's receivers, and its change."""

from farm.tenants import vault
from farm.tenants.vault import Vault
from farm.webhooks import signing


def secret_of(secrets: Vault, tenant: str) -> str:
    """Made where there is none yet. Raises Unavailable."""
    return secrets.get_or_make(tenant, vault.WEBHOOK, signing.new_secret())


def change_secret(secrets: Vault, tenant: str) -> str:
    """A new one. The one before it signs beside it, until it is removed or changed again. Raises Unavailable."""
    secrets.set(tenant, vault.WEBHOOK_BEFORE, secret_of(secrets, tenant))
    secret = signing.new_secret()
    secrets.set(tenant, vault.WEBHOOK, secret)
    return secret
