"""Wan: a validated render request in, a video file out. Knows no Redis, no Flask, no tenant."""
