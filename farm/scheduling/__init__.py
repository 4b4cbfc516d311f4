"""Scheduling rules without I/O: order within a tenant, fair share, prediction. Clocks are arguments."""
