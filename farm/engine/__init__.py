"""The engine: a spawned child process pinned to one GPU, the only one that imports torch. protocol.py is its wire."""
