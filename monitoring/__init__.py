"""Metric definitions, dashboards and alerts as code. A leaf: it imports nothing of the farm."""
