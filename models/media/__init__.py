"""Clips, sound and pictures in; MP4 out."""
