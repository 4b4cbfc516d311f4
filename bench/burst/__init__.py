"""Buying policies beside each other on traces of arrivals and of what providers do."""
