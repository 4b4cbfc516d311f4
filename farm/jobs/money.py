"""Money is counted in whole micro-credits, so that no sum is ever rounded."""

#: micro-credits of one credit
MICRO = 1_000_000


def credits_text(micro: int) -> str:
    """Credits as people write them, every digit that there is: 60, 0.4."""
    return f"{micro / MICRO:.6f}".rstrip("0").rstrip(".")
