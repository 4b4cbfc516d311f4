"""Batches: manifests of shots that are admitted whole, and what is done with many jobs at once."""
