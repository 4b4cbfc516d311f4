"""Which addresses the farm dials on somebody's behalf, and how: the only code that fetches or posts to a URL that a
tenant wrote. Knows nothing of what the bytes mean."""

from farm.guard.guard import Answer, Fetched, Guard

__all__ = ["Answer", "Fetched", "Guard"]
