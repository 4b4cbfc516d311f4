"""A farm of simulated workers on a virtual clock: the real scripts of the ledger beside other rules."""
