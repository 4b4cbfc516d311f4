"""The `wanfarm` command. It owns words, tables and exit codes; what it does goes through farm.client, or through the
rooms whose process it starts. Importing it is fast: a command imports what it needs when it runs.

Exit codes: 0 done, 1 it failed (a job too), 2 wrong usage, 3 the farm cannot be reached, 4 the farm refused,
70 a defect of ours, 130 interrupted.
"""

from farm.cli.entry import main

__all__ = ["main"]
