"""Recipes and C2PA signatures of results."""
