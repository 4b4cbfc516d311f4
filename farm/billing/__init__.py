"""Prices of clips."""
