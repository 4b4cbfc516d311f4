"""The inputs that Wan-Animate needs, made from a clip: skeletons, faces, a background and a mask.

Each step is a function that can be looked at alone; models.preprocess.guides walks through all of them.
"""
