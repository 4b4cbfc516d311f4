"""Requests, and the memory that a render will need. Pure."""
