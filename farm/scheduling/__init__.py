"""Scheduling rules without I/O: what a render will take.

Fair share and order stand where they are decided, in the ledger's scripts (lua/lib/fair.lua, queue.lua).
"""
