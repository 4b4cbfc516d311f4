"""Money is counted in whole micro-credits, so that no sum is ever rounded."""

#: micro-credits of one credit
MICRO = 1_000_000
