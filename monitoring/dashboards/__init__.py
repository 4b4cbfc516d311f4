"""Grafana dashboards as code. Needs the extra `monitoring`; no process of the farm imports this."""
