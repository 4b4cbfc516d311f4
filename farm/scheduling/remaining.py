"""How much longer a render takes, from its own pace. Pure."""


def remaining_s(seconds: float, *, steps: int, steps_left: int, share: float, share_left: float) -> float:
    """Seconds still to go when the last `seconds` brought `steps` (1 or more) denoising steps and `share` of the whole.

    The steps tell it early, the share, which also counts decoding and encoding, late: the longer of the two is
    returned. A share of 0 or less says nothing. Both shares are in [0, 1].
    """
    by_steps = seconds * steps_left / steps
    return max(by_steps, seconds * share_left / share) if share > 0 else by_steps
