"""Draws a small world, and trains the tiny Wan models that ship with the farm on it. `python -m tools.tiny --help`."""
