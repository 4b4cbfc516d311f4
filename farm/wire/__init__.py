"""One codec per dialect, both directions, pure: between a dialect's JSON and the farm's vocabulary."""
