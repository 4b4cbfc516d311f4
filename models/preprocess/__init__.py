"""Animate's preprocessing: person boxes, whole-body poses, face crops, skeletons, masks; each step viewable alone."""
