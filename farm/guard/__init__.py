"""The only code that fetches from or posts to URLs of tenants: decides which addresses may be dialled and dials them.
Knows nothing of what the bytes mean."""

from farm.guard.guard import Answer, Fetched, Guard

__all__ = ["Answer", "Fetched", "Guard"]
