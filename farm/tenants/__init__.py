"""Who may ask: tenants, API keys, secrets."""
