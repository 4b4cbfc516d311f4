"""Folders of weights: fetched, verified, built."""
