"""Files that leave the farm: their provenance, upload and commit."""
